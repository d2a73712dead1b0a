"""What `fit_distributed` refuses and passes on, with a stand-in for Ray's trainer: a run on Ray is in tests/integration."""

import re
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edupulse_ml.core.errors import ConflictError, NotFoundError
from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.models.gru import RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.training import distributed
from edupulse_ml.training.data import prepare_training
from edupulse_ml.training.distributed import ClusterOptions, TrainingStoppedError, fit_distributed
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.run import TrainingRun
from edupulse_ml.training.run_files import RunFiles
from jobs import fitting
from jobs.fitting import RayWorkers
from tests.fakes.training_data import make_training_data

OPTIONS = TrainingOptions(
    window_weeks=8,
    epochs=3,
    batch_size=32,
    validation_rows=200,
    allow_small=True,
    network=RiskNetConfig(hidden=8, attention=8, fusion=8),
)


@pytest.fixture(scope="module")
def prepared():
    train, validation = (make_training_data(n_students=60, n_weeks=10, seed=seed, hazard=0.01) for seed in (1, 2))
    return prepare_training(train, validation, norms=InputNorms.fit(train), task=risk_task(), options=OPTIONS)


@pytest.fixture
def run_on_ray(prepared, tmp_path, monkeypatch):
    """Stands in for what runs on Ray, told the run's files and the run."""
    import ray.train.torch

    works = []

    class StandInTrainer:
        def __init__(self, _, *, train_loop_config, **__):
            self.files = RunFiles(Path(train_loop_config["arrays"]))
            self.epochs = train_loop_config["options"]["epochs"]

        def fit(self):
            run = TrainingRun(prepared, replace(OPTIONS, epochs=self.epochs), task=risk_task())
            works[-1](self.files, run)
            folder = tmp_path / "checkpoint"
            folder.mkdir(exist_ok=True)
            run.save(folder)
            return SimpleNamespace(checkpoint=SimpleNamespace(as_directory=lambda: nullcontext(str(folder))))

    monkeypatch.setattr(ray.train.torch, "TorchTrainer", StandInTrainer)
    monkeypatch.setattr(distributed, "_LOOK_S", 0.01)
    works.append(trained)
    return works.append


def trained(files, run):
    while not run.finished:
        files.tell([run.next_epoch()])


def wait_until(condition):
    nothing = threading.Event()
    for _ in range(1000):
        if condition():
            return
        nothing.wait(0.01)
    pytest.fail("waited in vain")


def storage_of(tmp_path, **changes):
    return replace(ClusterOptions(storage=tmp_path / "ray-train", run_name="train-demo"), **changes)


def test_a_run_that_nobody_began_is_not_resumed(run_on_ray, prepared, tmp_path):
    where = storage_of(tmp_path, resumes=True)
    with pytest.raises(NotFoundError, match=re.escape(f"no run train-demo to resume in {where.storage}")) as refused:
        fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=where)
    assert "Run NAME:" in str(refused.value)
    assert not where.storage.exists()
    fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=storage_of(tmp_path))
    assert fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=where).history
    with pytest.raises(NotFoundError):
        fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=replace(where, run_name="train"))


def test_a_network_that_follows_may_begin_but_not_with_other_options(run_on_ray, prepared, tmp_path):
    where = storage_of(tmp_path, run_name="train-demo-1", resumes=True, follows=True)
    assert fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=where).history
    with pytest.raises(ConflictError, match="other values of learning_rate"):
        fit_distributed(prepared, replace(OPTIONS, learning_rate=0.5), task=risk_task(), cluster=where)


def test_an_ensemble_killed_in_its_first_network_is_resumed_and_one_that_nobody_began_is_not(
    run_on_ray, prepared, tmp_path
):
    workers = RayWorkers(1, use_gpu=False, storage=tmp_path / "ray-train", run_name="train-demo", resumes=True)
    told = []

    def fit_networks():
        fit = fitting._on_ray(workers, first_seed=OPTIONS.seed, is_stopped=lambda: False)
        for member in range(3):
            fit(prepared, replace(OPTIONS, seed=OPTIONS.seed + member), risk_task(), told.append)

    with pytest.raises(NotFoundError):
        fit_networks()
    fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=storage_of(tmp_path))
    fit_networks()
    assert [metrics["epoch"] for metrics in told] == [1, 2, 3] * 3


def test_the_same_name_in_every_try_begins_where_nothing_exists(run_on_ray, prepared, tmp_path):
    where = storage_of(tmp_path, run_name="month-demo-2026-01")
    for _ in range(2):
        assert fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=where).history


def test_progress_is_told_of_each_epoch_once_while_it_trains_and_at_the_end_of_the_rest(run_on_ray, prepared, tmp_path):
    told = []

    def worker_dies(files, run):
        first, second = run.next_epoch(), run.next_epoch()
        files.tell([first, second])
        files.tell([first])  # from the checkpoint before, and nothing more
        wait_until(lambda: told == [first, second])
        run.next_epoch()

    run_on_ray(worker_dies)
    fitted = fit_distributed(
        prepared, OPTIONS, task=risk_task(), cluster=storage_of(tmp_path), progress=lambda each: told.append(dict(each))
    )
    assert told == list(fitted.history)
    assert len(told) == OPTIONS.epochs


def test_lines_of_an_earlier_try_are_not_taken_for_epochs_of_this_one(run_on_ray, prepared, tmp_path):
    where, told = storage_of(tmp_path), []
    fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=where)

    def other_figures(files, run):
        looked = threading.Event()
        looked.wait(0.1)
        while not run.finished:
            run.next_epoch()

    run_on_ray(other_figures)
    fitted = fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=where, progress=told.append)
    assert told == list(fitted.history)


def test_what_progress_raises_is_raised_and_a_stop_is_a_stop(run_on_ray, prepared, tmp_path):
    def until_told_to_stop(files, run):
        files.tell([run.next_epoch()])
        wait_until(lambda: files.is_to_stop)

    def raises(_):
        raise KeyError("progress")

    run_on_ray(until_told_to_stop)
    with pytest.raises(KeyError, match="progress"):
        fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=storage_of(tmp_path), progress=raises)
    with pytest.raises(TrainingStoppedError):
        fit_distributed(
            prepared, OPTIONS, task=risk_task(), cluster=storage_of(tmp_path), progress=raises, is_stopped=lambda: True
        )
