"""Fractional GPUs on a cluster whose GPU is only declared: two replicas share it, and answer from the CPU."""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.outcomes import EARLY_TASK, risk_task
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.calibration import Calibrator
from edupulse_ml.models.gru import RiskNet, RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from tests.fakes.gpu_replicas import GpuReplica, Placement
from tests.fakes.training_data import make_training_data

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored model."""
    tasks = (risk_task(), EARLY_TASK)
    where = tmp_path_factory.mktemp("model")
    ModelArtifact(
        network=RiskNet(RiskNetConfig(hidden=4, attention=4, fusion=4)).eval(),
        norms=InputNorms.fit(make_training_data(n_students=40, n_weeks=10)),
        calibrators={task.name: Calibrator("identity") for task in tasks},
        policy=CategoryPolicy("1", 0.2, 0.4, 0.6),
        contract=current_contract(window_weeks=8),
        task=tasks[0],
        tasks=tasks,
    ).save(where)
    return where


@pytest.fixture(scope="module")
def gpu_node(folder: Path) -> Iterator[str]:
    """The id of a node that declares one GPU, beside a head that has none."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    home = Path(tempfile.mkdtemp(prefix="ep-gpu-"))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in (
            ("PYTHONPATH", str(REPOSITORY)),
            ("OMP_NUM_THREADS", "1"),
            ("RAY_USAGE_STATS_ENABLED", "0"),
        ):
            patch.setenv(name, value)
        # It would lead every other `ray.init()` on this machine here.
        patch.setattr("ray._private.utils.write_ray_address", lambda *_args, **_kwargs: None)
        node = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "temp_dir": str(home / "r"), **node})
        try:
            worker = cluster.add_node(num_cpus=2, num_gpus=1, **node)
            ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            serve.start(proxy_location="Disabled")
            yield worker.node_id
        finally:
            if ray.is_initialized():
                serve.shutdown()
                ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(home, ignore_errors=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens where the declared GPU is not there")
def test_two_replicas_share_a_gpu_and_fall_back_to_the_cpu_where_cuda_is_missing(gpu_node: str, folder: Path) -> None:
    from ray import serve

    application = GpuReplica.options(
        num_replicas=2, ray_actor_options={"num_cpus": 0.5, "num_gpus": 0.5}
    ).bind(str(folder))  # fmt: skip
    handle = serve.run(application, name="gpu", route_prefix=None)
    placements: list[Placement] = handle.broadcast("placement").results()
    assert len({placement.replica for placement in placements}) == 2
    assert {placement.node_id for placement in placements} == {gpu_node}
    assert {placement.gpus for placement in placements} == {("0",)}
    assert {placement.engine for placement in placements} == {"onnxruntime"}
