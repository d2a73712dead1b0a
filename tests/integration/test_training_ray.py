"""Training on a real Ray cluster: two workers, and going on from a checkpoint."""

import math
from dataclasses import replace

import pytest

from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.models.gru import RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.training.data import prepare_training
from edupulse_ml.training.distributed import ClusterOptions, fit_distributed
from edupulse_ml.training.local import fit_local
from edupulse_ml.training.options import TrainingOptions
from tests.fakes.training_data import make_training_data

OPTIONS = TrainingOptions(
    window_weeks=8,
    epochs=3,
    batch_size=32,
    validation_rows=200,
    network=RiskNetConfig(hidden=8, attention=8, fusion=8),
)


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


@pytest.fixture(scope="module")
def prepared():
    train, validation = (make_training_data(n_students=400, n_weeks=14, seed=s, hazard=0.003) for s in (1, 2))
    return prepare_training(train, validation, norms=InputNorms.fit(train), task=risk_task(), options=OPTIONS)


def test_two_workers_learn_and_a_second_run_goes_on_where_the_first_stopped(cluster, prepared):
    where = ClusterOptions(storage=cluster, run_name="two", num_workers=2, cpus_per_worker=0.5)
    first = fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=where)
    assert [epoch["epoch"] for epoch in first.history] == [1, 2, 3]
    for epoch in first.history:
        assert all(math.isfinite(value) for value in epoch.values())
    assert first.history[-1]["train_loss"] < first.history[0]["train_loss"]
    assert first.history[-1]["validation_loss"] < first.history[0]["validation_loss"]

    second = fit_distributed(prepared, replace(OPTIONS, epochs=5), task=risk_task(), cluster=where)
    assert [epoch["epoch"] for epoch in second.history] == [1, 2, 3, 4, 5]
    assert second.history[:3] == first.history


def test_one_worker_gives_the_figures_of_a_local_run(cluster, prepared):
    where = ClusterOptions(storage=cluster, run_name="one", num_workers=1, cpus_per_worker=0.5)
    on_ray = fit_distributed(prepared, OPTIONS, task=risk_task(), cluster=where)
    here = fit_local(prepared, OPTIONS, task=risk_task(), progress=lambda _: None)
    for first, second in zip(on_ray.history, here.history, strict=True):
        for name in ("train_loss", "validation_loss", "validation_average_precision"):
            assert first[name] == pytest.approx(second[name], rel=1e-4)
