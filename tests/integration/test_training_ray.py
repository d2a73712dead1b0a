"""Training on a real Ray cluster: two workers, and going on from a checkpoint, whoever was killed."""

import math
import re
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from edupulse_ml.core.errors import ConflictError
from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.models.gru import RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.training.data import prepare_training
from edupulse_ml.training.distributed import ClusterOptions, TrainingStoppedError, fit_distributed
from edupulse_ml.training.local import fit_local
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.run import read_result
from tests.fakes.training_data import make_training_data

OPTIONS = TrainingOptions(
    window_weeks=8,
    epochs=3,
    batch_size=32,
    validation_rows=200,
    network=RiskNetConfig(hidden=8, attention=8, fusion=8),
)

LONGER = replace(OPTIONS, epochs=12, patience=12)
FIGURES = ("train_loss", "validation_loss", "validation_average_precision")
DIGEST = "[0-9a-f]" * 12
REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    ray = pytest.importorskip("ray")
    environment = pytest.MonkeyPatch()
    environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
    environment.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        configure_logging=False,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    yield tmp_path_factory.mktemp("ray-storage")
    ray.shutdown()
    environment.undo()


def prepared_from(seed):
    train, validation = (
        make_training_data(n_students=400, n_weeks=14, seed=each, hazard=0.003) for each in (seed, seed + 1)
    )
    return prepare_training(train, validation, norms=InputNorms.fit(train), task=risk_task(), options=OPTIONS)


@pytest.fixture(scope="module")
def prepared():
    return prepared_from(1)


def test_two_workers_learn_and_a_second_run_goes_on_where_the_first_stopped(cluster, prepared):
    where = ClusterOptions(storage=cluster, run_name="two", num_workers=2, cpus_per_worker=0.5)
    told: list[dict[str, float]] = []
    first = fit_distributed(
        prepared, OPTIONS, task=risk_task(), cluster=where, progress=lambda each: told.append({**each})
    )
    assert told == list(first.history)
    told.clear()
    assert [epoch["epoch"] for epoch in first.history] == [1, 2, 3]
    for epoch in first.history:
        assert all(math.isfinite(value) for value in epoch.values())
    assert first.history[-1]["train_loss"] < first.history[0]["train_loss"]
    assert first.history[-1]["validation_loss"] < first.history[0]["validation_loss"]

    second = fit_distributed(
        prepared,
        replace(OPTIONS, epochs=5),
        task=risk_task(),
        cluster=where,
        progress=lambda each: told.append({**each}),
    )
    assert told == list(second.history)
    assert [epoch["epoch"] for epoch in second.history] == [1, 2, 3, 4, 5]
    assert second.history[:3] == first.history


def test_a_run_on_other_data_never_goes_on_with_the_weights_of_the_first(cluster, prepared):
    where = ClusterOptions(storage=cluster, run_name="split", num_workers=1, cpus_per_worker=0.5)
    short = replace(OPTIONS, epochs=1)
    first = fit_distributed(prepared, short, task=risk_task(), cluster=where)
    others = prepared_from(3)
    with pytest.raises(ConflictError, match="other records or another split"):
        fit_distributed(others, short, task=risk_task(), cluster=replace(where, resumes=True))
    anew = fit_distributed(others, short, task=risk_task(), cluster=where)
    assert len(anew.history) == 1
    assert anew.history != first.history
    again = fit_distributed(prepared, short, task=risk_task(), cluster=replace(where, resumes=True))
    assert again.history == first.history


def test_a_run_that_is_to_stop_ends_with_the_epoch_at_hand_and_can_be_resumed(cluster, prepared):
    where = ClusterOptions(storage=cluster, run_name="stopped", num_workers=2, cpus_per_worker=0.5)
    endless = replace(OPTIONS, epochs=100_000, patience=100_000)

    told: list[float] = []
    deadline = time.monotonic() + 240

    def progress(metrics) -> None:
        told.append(metrics["epoch"])

    def is_stopped() -> bool:  # as soon as an epoch is told, which is while the run goes on: it has no other end
        return bool(told) or time.monotonic() > deadline

    with pytest.raises(TrainingStoppedError, match="stopped: it goes on"):
        fit_distributed(prepared, endless, task=risk_task(), cluster=where, progress=progress, is_stopped=is_stopped)
    assert told
    assert told == [*range(1, len(told) + 1)]
    told.clear()
    done = len(committed_history(cluster, "stopped"))
    assert done >= 1
    resumed = replace(where, resumes=True)
    longer = replace(endless, epochs=done + 2)
    more = fit_distributed(prepared, longer, task=risk_task(), cluster=resumed, progress=progress)
    assert [epoch["epoch"] for epoch in more.history] == [*range(1, done + 3)]
    assert told == [*range(1, done + 3)]


def test_one_worker_gives_the_figures_of_a_local_run(cluster, prepared):
    where = ClusterOptions(storage=cluster, run_name="one", num_workers=1, cpus_per_worker=0.5)
    on_ray = fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=where)
    here = fit_local(prepared, OPTIONS, task=risk_task(), progress=lambda _: None)
    for first, second in zip(on_ray.history, here.history, strict=True):
        for name in FIGURES:
            assert first[name] == pytest.approx(second[name], rel=1e-4)


def committed_history(storage, run_name):
    """The history in a checkpoint of a run, as soon as the run would go on from one. A file alone is not enough: what
    was uploaded when a worker died and not yet reported by all of them is trained again.
    """
    for _ in range(2400):
        for snapshot in storage.glob(f"{run_name}-{DIGEST}/checkpoint_manager_snapshot.json"):
            try:
                for name in re.findall(r"checkpoint_[-_.0-9]+", snapshot.read_text()):
                    return read_result(snapshot.parent / name).history
            except (OSError, RuntimeError):
                continue  # the run has gone on and removed it
        time.sleep(0.05)
    raise AssertionError(f"Run {run_name} wrote no checkpoint.")


def training_workers():
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_worker_killed_in_mid_epoch_goes_on_from_the_checkpoint_to_the_same_figures(cluster, prepared):
    seen = []
    told: list[float] = []

    def kill_one():
        seen.append(committed_history(cluster, "killed"))
        victim = training_workers()[0]
        victim.kill()
        seen.append(victim.pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    where = ClusterOptions(storage=cluster, run_name="killed", num_workers=2, cpus_per_worker=0.5)
    broken = fit_distributed(
        prepared,
        LONGER,
        task=risk_task(),
        cluster=where,
        progress=lambda metrics: told.append(metrics["epoch"]),
    )
    killer.join()
    assert told == [*range(1, 13)]
    history, _ = seen
    assert [epoch["epoch"] for epoch in broken.history] == [*range(1, 13)]
    # The seconds are those of the first attempt: that epoch was not trained again.
    assert broken.history[: len(history)] == history
    assert len(history) < len(broken.history)

    unbroken = fit_distributed(prepared, LONGER, task=risk_task(), cluster=replace(where, run_name="unbroken"))
    for first, second in zip(broken.history, unbroken.history, strict=True):
        for name in FIGURES:
            assert first[name] == pytest.approx(second[name], rel=1e-3)
    assert broken.best_epoch == unbroken.best_epoch

    # A run that had finished is not trained again, and its result is still there.
    again = fit_distributed(prepared, LONGER, task=risk_task(), cluster=where)
    assert again.history == broken.history
    resumed = replace(where, resumes=True)
    with pytest.raises(ConflictError, match="other values of learning_rate: give"):
        fit_distributed(prepared, replace(LONGER, learning_rate=0.5), task=risk_task(), cluster=resumed)


DRIVER = """
    import sys
    from pathlib import Path

    import ray

    from edupulse_ml.core.outcomes import risk_task
    from edupulse_ml.training.data import PreparedTraining
    from edupulse_ml.training.distributed import ClusterOptions, fit_distributed
    from tests.integration.test_training_ray import LONGER

    ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
    where = ClusterOptions(storage=Path(sys.argv[2]), run_name="driverless", num_workers=(1, 2), cpus_per_worker=0.5)
    fit_distributed(PreparedTraining.load(Path(sys.argv[3])), LONGER, task=risk_task(), cluster=where)
"""


def test_a_run_whose_driver_was_killed_goes_on_by_its_name(cluster, prepared, tmp_path):
    import ray

    prepared.save(tmp_path / "prepared")
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DRIVER), address, str(cluster), str(tmp_path / "prepared")],
        cwd=REPOSITORY,
    )
    try:
        history = committed_history(cluster, "driverless")
    finally:
        driver.kill()
        driver.wait()
    for _ in range(600):
        if not training_workers():
            break
        time.sleep(0.1)
    where = ClusterOptions(storage=cluster, run_name="driverless", num_workers=(1, 2), cpus_per_worker=0.5)
    result = fit_distributed(prepared, LONGER, task=risk_task(), cluster=where)
    assert [epoch["epoch"] for epoch in result.history] == [*range(1, 13)]
    assert result.history[: len(history)] == history
