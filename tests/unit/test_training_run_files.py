"""What driver and workers of a run on Ray tell one another: epochs, each once and in order, and that it is to stop."""

import threading

import pytest

from edupulse_ml.training.run_files import EpochsInOrder, RunFiles, watched

LOOK_S = 0.01
WAIT_S = 10.0


def done(first: int, last: int | None = None) -> list[dict[str, float]]:
    return [{"epoch": float(each), "train_loss": each / 7} for each in range(first, (last or first) + 1)]


def test_a_line_is_heard_once_and_only_when_it_is_whole(tmp_path):
    worker, driver = RunFiles(tmp_path), RunFiles(tmp_path)
    assert driver.hear() == []
    worker.tell(done(1, 2))
    assert driver.hear() == done(1, 2)
    assert driver.hear() == []
    with (tmp_path / "epochs.jsonl").open("a") as file:
        file.write('{"epoch": 3.0, "train')
    assert driver.hear() == []
    worker.tell(done(1, 3))  # another worker, after the first was killed
    assert driver.hear() == done(1, 3)


def test_an_epoch_without_a_figure_is_told_all_the_same(tmp_path):
    files = RunFiles(tmp_path)
    files.tell([{"epoch": 1.0, "validation_roc_auc": float("nan")}])
    (heard,) = files.hear()
    assert heard["epoch"] == 1
    assert heard["validation_roc_auc"] != heard["validation_roc_auc"]


def test_what_an_earlier_run_of_the_name_told_is_forgotten(tmp_path):
    files = RunFiles(tmp_path)
    files.tell(done(1, 9))
    files.ask_to_stop()
    assert files.is_to_stop
    RunFiles(tmp_path).clear()
    assert not files.is_to_stop
    assert RunFiles(tmp_path).hear() == []


def test_each_epoch_is_passed_on_once_and_in_order_whatever_is_told_again():
    passed_on = []
    epochs = EpochsInOrder(passed_on.append)
    epochs.hear(done(1, 3))  # a run that goes on
    epochs.hear(done(5))  # told late by a worker that the next run did not wait for
    epochs.hear(done(2, 4))  # a worker died; its epochs are trained again
    epochs.hear(done(1, 5))
    assert passed_on == done(1, 5)


def test_epochs_are_passed_on_while_the_run_goes_on(tmp_path):
    files, worker = RunFiles(tmp_path), RunFiles(tmp_path)
    heard = threading.Semaphore(0)
    passed_on = []

    def progress(metrics):
        passed_on.append(metrics)
        heard.release()

    with watched(files, epochs=EpochsInOrder(progress), is_stopped=lambda: False, look_s=LOOK_S) as watch:
        for epoch in (1, 2, 3):
            worker.tell(done(epoch))
            assert heard.acquire(timeout=WAIT_S)
            assert passed_on == done(1, epoch)
    assert watch.error is None
    assert not files.is_to_stop


def wait_for_stop(files: RunFiles) -> None:
    nothing = threading.Event()
    for _ in range(round(WAIT_S / LOOK_S)):
        if files.is_to_stop:
            return
        nothing.wait(LOOK_S)
    pytest.fail("workers were not told to stop")


def test_workers_hear_of_a_stop(tmp_path):
    files, stopped = RunFiles(tmp_path), threading.Event()
    with watched(files, epochs=EpochsInOrder(print), is_stopped=stopped.is_set, look_s=LOOK_S) as watch:
        assert not files.is_to_stop
        stopped.set()
        wait_for_stop(files)
    assert watch.error is None


def test_workers_hear_of_a_stop_where_progress_raises_and_its_error_is_kept(tmp_path):
    files = RunFiles(tmp_path)
    error = RuntimeError("the run was asked to stop")

    def progress(metrics):
        raise error

    with watched(files, epochs=EpochsInOrder(progress), is_stopped=lambda: False, look_s=LOOK_S) as watch:
        files.tell(done(1))
        wait_for_stop(files)
    assert watch.error is error
