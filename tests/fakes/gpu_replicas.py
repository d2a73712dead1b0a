"""A replica that loads a stored model as the risk model does and tells where it was placed."""

from dataclasses import dataclass
from pathlib import Path

import ray
from ray import serve

from deployments.components import RegistryModels
from deployments.model_slot import ModelFiles, self_test
from edupulse_ml.core.ids import DistrictId, ModelVersion


@dataclass(frozen=True)
class Placement:
    """Where a replica runs, what Ray granted to it, and the engine that answers there."""

    replica: str
    node_id: str
    gpus: tuple[str, ...]
    engine: str


@serve.deployment(name="RiskModelOnGpu")
class GpuReplica:
    """Loads the model in `folder` with `inference_device: auto` and tries it out."""

    def __init__(self, folder: str) -> None:
        models = RegistryModels(
            tracking_uri="unused", district=DistrictId("d"), cache_dir=Path(folder), device="auto", threads=1
        )
        model = models.load(ModelFiles(ModelVersion("1"), Path(folder)))
        self_test(model)
        self._engine = model.score.__self__.runner.name

    def placement(self) -> Placement:
        """Asked of every replica by a broadcast."""
        context = ray.get_runtime_context()
        gpus = tuple(context.get_accelerator_ids()["GPU"])
        return Placement(context.get_actor_id() or "", context.get_node_id(), gpus, self._engine)
