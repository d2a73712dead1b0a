"""The trained model as one folder: network, norms, calibration, categories and the contract they were made for.

Legend: B examples, T steps, K hazard intervals. No pickle: weights as a torch state dict (`weights_only`), norms as
npz, the network once more as ONNX, the rest as JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.outcomes import EARLY_TASK, Task, interval_probability
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.calibration import Calibrator, load_calibrators, save_calibrators
from edupulse_ml.models.engines import InferenceEngine, NetworkOutput, OnnxEngine, TorchEngine, export_onnx
from edupulse_ml.models.gru import RiskNet, RiskNetConfig
from edupulse_ml.models.inputs import InputNorms, ModelInputs
from edupulse_ml.models.scores import Scores
from edupulse_ml.models.terms import (
    MODEL_FILE,
    require_files,
    require_this_release,
    terms_as_json,
    terms_from_json,
    write_strategy,
)

EngineName = Literal["onnx", "onnx-float32", "onnx-int8", "torch", "torch-float32", "torch-half"]
"""`onnx` and `torch` are what the model's folder says: float32, unless coarser arithmetic was admitted and faster when the
model was built.
"""

INT8_ONNX: Final = "model.int8.onnx"
_CHOICE: Final = "engine.json"

_WEIGHTS, _NORMS, _CALIBRATION, _ONNX = ("network.pt", "norms.npz", "calibration.json", "model.onnx")


@dataclass(frozen=True)
class ModelArtifact:
    """Everything that scoring needs. `task` is the question `risk_score` answers; `tasks` are all calibrated ones.

    `metadata` holds strings for people: how and on what it was trained. `engine` runs the network.
    """

    network: RiskNet
    norms: InputNorms
    calibrators: Mapping[str, Calibrator]
    policy: CategoryPolicy
    contract: FeatureContract
    task: Task
    tasks: tuple[Task, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    engine: InferenceEngine | None = None

    name = "gru"

    @property
    def strategy(self) -> str:
        return self.name

    def score(self, batch: SequenceBatch) -> Scores:
        """Calibrated scores, one per example; row i depends on example i only.

        Raises:
            ContractMismatchError: this release's features are not those the model was trained on.
        """
        output = self.run_network(batch)
        hazards = output.hazards
        return Scores(
            risk_score=self._calibrated(hazards, self.task),
            risk_60plus=self._calibrated(hazards, EARLY_TASK),
            hazards=hazards,
            attention=output.attention,
        )

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Calibrated probability per task, as the rivals answer it."""
        hazards = self.run_network(batch).hazards
        return {task.name: self._calibrated(hazards, task) for task in self.tasks}

    def run_network(self, batch: SequenceBatch) -> NetworkOutput:
        """Hazard logits and attention, before calibration.

        Raises:
            ContractMismatchError: this release's features are not those the model was trained on.
        """
        # The contract of a release never changes while it runs, so a match is found once.
        _ = self._matches_this_release
        size = self.runner.examples_per_run
        if batch.n_examples <= size:
            # This also covers an empty batch, which still needs one (empty) run to know its shapes.
            return self.runner.run(self.norms.prepare(batch))
        parts = (slice(start, start + size) for start in range(0, batch.n_examples, size))
        return _joined([self.runner.run(self.norms.prepare(batch.select(part))) for part in parts])

    def run_prepared(self, inputs: ModelInputs) -> NetworkOutput:
        """As `run_network`, for inputs that `norms` have prepared."""
        size = self.runner.examples_per_run
        if len(inputs.length) <= size:
            return self.runner.run(inputs)
        parts = (slice(start, start + size) for start in range(0, len(inputs.length), size))
        return _joined([self.runner.run(inputs.select(part)) for part in parts])

    @cached_property
    def runner(self) -> InferenceEngine:
        """The engine; torch on the network's weights where none was given."""
        return self.engine or TorchEngine(self.network)

    @cached_property
    def _matches_this_release(self) -> bool:
        require_this_release(self.contract)
        return True

    def save(self, directory: Path) -> float:
        """Write the folder, the ONNX export included; the largest difference between the export and the network.

        Raises:
            OnnxParityError: the export differs from the network by more than 1e-5.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.network.cpu()
        torch.save(self.network.state_dict(), directory / _WEIGHTS)
        self.norms.save(directory / _NORMS)
        save_calibrators(self.calibrators, directory / _CALIBRATION)
        description = {"network": self.network.config.as_dict(), **terms_as_json(self)}
        (directory / MODEL_FILE).write_text(json.dumps(description, indent=1))
        write_strategy(directory, self.strategy)
        return export_onnx(self.network, directory / _ONNX)

    @classmethod
    def load(cls, directory: Path, *, engine: EngineName = "onnx", threads: int = 1, device: str = "cpu") -> Self:
        """Read what `save` wrote, with ONNX Runtime on the CPU or torch on `device` as its engine (see `EngineName`).

        `threads` is for ONNX Runtime, 0 meaning one per core. The torch network is there with either engine; it is
        what attributions differentiate.

        Raises:
            NotFoundError: the folder is not a complete model, or holds no int8 weights where these are asked for.
        """
        require_files(directory, (MODEL_FILE, _WEIGHTS, _NORMS, _CALIBRATION, _ONNX))
        stored: dict[str, Any] = json.loads((directory / MODEL_FILE).read_text())
        network = RiskNet(RiskNetConfig(**stored["network"]))
        network.load_state_dict(torch.load(directory / _WEIGHTS, weights_only=True, map_location="cpu"))
        network.eval()
        runner: InferenceEngine
        chosen = _chosen(directory, engine)
        if chosen.startswith("torch"):
            runner = TorchEngine(network, device=device, half=chosen == "torch-half")
        else:
            runner = OnnxEngine(_onnx_graph(directory, chosen), threads=threads)
        terms = terms_from_json(stored)
        return cls(
            network=network,
            norms=InputNorms.load(directory / _NORMS),
            calibrators=load_calibrators(directory / _CALIBRATION),
            policy=terms.policy,
            contract=terms.contract,
            task=terms.task,
            tasks=terms.tasks,
            metadata=terms.metadata,
            engine=runner,
        )

    def _calibrated(self, hazards: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
        return self.calibrators[task.name].apply(interval_probability(hazards, task))


def _joined(runs: Sequence[NetworkOutput]) -> NetworkOutput:
    return NetworkOutput(np.concatenate([run.logits for run in runs]), np.concatenate([run.attention for run in runs]))


def write_engine_choice(directory: Path, kind: Literal["onnx", "torch"], figures: Mapping[str, object]) -> None:
    """Keep which engine `kind` stands for in this folder: `figures` names it as `engine`, beside why."""
    path = directory / _CHOICE
    others = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**others, kind: figures}, indent=1))


def _chosen(directory: Path, engine: EngineName) -> EngineName:
    path = directory / _CHOICE
    if engine not in ("onnx", "torch") or not path.is_file():
        return engine
    return json.loads(path.read_text()).get(engine, {}).get("engine", engine)


def _onnx_graph(directory: Path, engine: EngineName) -> Path:
    if engine != "onnx-int8":
        return directory / _ONNX
    if not (directory / INT8_ONNX).is_file():
        msg = f"{directory} holds no int8 weights ({INT8_ONNX}): load it with float32, or fetch it again."
        raise NotFoundError(msg)
    return directory / INT8_ONNX
