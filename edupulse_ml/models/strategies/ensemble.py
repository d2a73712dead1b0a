"""Networks of several seeds and LightGBM as one model: a weighted sum of their logits (sources.md 6.1).

Legend: B examples, T steps, K hazard intervals, C = 2 members: the mean of the networks, the boosted trees.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch

from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.sequences import Float32, SequenceBatch
from edupulse_ml.models.aggregates import feature_statistics, other_columns
from edupulse_ml.models.artifact import EngineName
from edupulse_ml.models.boosters import TASKS_FILE, TaskBoosters
from edupulse_ml.models.engines import InferenceEngine, OnnxEngine, TorchEngine, export_onnx
from edupulse_ml.models.gru import RiskNet, RiskNetConfig, hazard_range
from edupulse_ml.models.inputs import InputNorms, ModelInputs
from edupulse_ml.models.strategies.calibrated import CalibratedStrategy, CommonParts, Float64, RawScores, sigmoid
from edupulse_ml.models.strategies.stacking import Stack

MEMBERS: Final = ("networks", "trees")
"""Order of a stack's weights."""
EXAMPLES_PER_PASS: Final = 128
"""Windows that go through all members at a time: what stays in a core's cache (see `engines.EXAMPLES_PER_RUN`)."""
_ENSEMBLE: Final = "ensemble.json"


@dataclass(frozen=True)
class MemberScores:
    """Answers of the members of B examples."""

    network_logits: tuple[Float32, ...]
    """[B, K] hazard logits of each network."""
    tree_logits: Mapping[str, Float64]
    """[B] per task."""
    attention: Float32
    """[B, T] mean of the networks'."""

    def members(self, task: Task) -> Float64:
        """[B, C] logits of the task, in the order of `MEMBERS`."""
        return np.column_stack([self.networks(task), self.tree_logits[task.name]])

    def networks(self, task: Task) -> Float64:
        """[B] mean of the networks' logits of the task."""
        return np.stack([interval_logits(logits, task) for logits in self.network_logits]).mean(axis=0)


@dataclass(frozen=True)
class Members:
    """Networks and trees that read the same windows; `engines` run the networks, torch where none are given."""

    networks: tuple[RiskNet, ...]
    trees: TaskBoosters
    engines: tuple[InferenceEngine, ...] = ()

    def scores(self, batch: SequenceBatch, norms: InputNorms) -> MemberScores:
        """What every member says; the windows are standardised once for all of them."""
        starts = range(0, max(batch.n_examples, 1), EXAMPLES_PER_PASS)
        parts = [self._pass(batch.select(slice(at, at + EXAMPLES_PER_PASS)), norms) for at in starts]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def run_prepared(self, inputs: ModelInputs, rows: Float32) -> MemberScores:
        """As `scores`, for prepared inputs and the aggregates [B, D] of the same windows."""
        outputs = [engine.run(inputs) for engine in self.runners]
        attention = np.stack([output.attention for output in outputs]).mean(axis=0)
        return MemberScores(tuple(output.logits for output in outputs), self.trees.logits(rows), attention)

    @cached_property
    def runners(self) -> tuple[InferenceEngine, ...]:
        """The engine of each network."""
        return self.engines or tuple(TorchEngine(network) for network in self.networks)

    def _pass(self, batch: SequenceBatch, norms: InputNorms) -> MemberScores:
        z_BTF = norms.standardise(batch, keep_missing=True)
        rows = np.concatenate([feature_statistics(z_BTF, batch.length), other_columns(batch)], axis=1)
        return self.run_prepared(norms.prepare(batch, z=np.where(np.isfinite(z_BTF), z_BTF, np.float32(0.0))), rows)


@dataclass(frozen=True, kw_only=True)
class EnsembleModel(CalibratedStrategy):
    """Calibrated stack of networks and trees; `stacks` has one entry per task."""

    members: Members
    stacks: Mapping[str, Stack]

    @property
    def strategy(self) -> str:
        return "ensemble"

    def raw_scores(self, batch: SequenceBatch) -> RawScores:
        found = self.members.scores(batch, self.norms)
        logits = {task.name: self.stacks[task.name].logit(found.members(task)) for task in self.tasks}
        hazards = sigmoid(np.stack(found.network_logits).astype(np.float64).mean(axis=0))
        return RawScores(logits, hazards, found.attention)

    def save(self, directory: Path) -> float:
        """Write the folder, an ONNX export per network included; the largest difference of an export from its network.

        Raises:
            OnnxParityError: an export differs from its network by more than 1e-5.
        """
        self.save_common(
            directory, description={"networks": [network.config.as_dict() for network in self.members.networks]}
        )
        stacks = {task: asdict(stack) for task, stack in self.stacks.items()}
        (directory / _ENSEMBLE).write_text(json.dumps(stacks, indent=1))
        self.members.trees.save(directory)
        differences: list[float] = []
        for position, network in enumerate(self.members.networks):
            network.cpu()
            torch.save(network.state_dict(), directory / _weights_file(position))
            differences.append(export_onnx(network, directory / _onnx_file(position)))
        return max(differences)

    @classmethod
    def load(cls, directory: Path, *, engine: EngineName = "onnx", threads: int = 1, device: str = "cpu") -> Self:
        """Read what `save` wrote; see `ModelArtifact.load`. There are no int8 weights of an ensemble: asked for them,
        ONNX Runtime runs the exact ones.

        Raises:
            NotFoundError: the folder is not a complete model.
        """
        common, stored = CommonParts.load(directory, own_files=(_ENSEMBLE, TASKS_FILE))
        networks = tuple(
            _network(RiskNetConfig(**config), directory / _weights_file(position))
            for position, config in enumerate(stored["networks"])
        )
        runners: tuple[InferenceEngine, ...]
        if engine.startswith("torch"):
            runners = tuple(TorchEngine(network, device=device, half=engine == "torch-half") for network in networks)
        else:
            paths = [directory / _onnx_file(position) for position in range(len(networks))]
            runners = tuple(OnnxEngine(path, threads=threads) for path in paths)
        stacks = json.loads((directory / _ENSEMBLE).read_text())
        return cls(
            **common.as_fields(),
            members=Members(networks, TaskBoosters.load(directory, threads=threads), runners),
            stacks={task: Stack(tuple(each["weights"]), each["intercept"]) for task, each in stacks.items()},
        )


def interval_logits(logits: Float32, task: Task) -> Float64:
    """[B] logit of P(event in the task's interval) of hazard logits [B, K]; `gru.interval_logit` without torch."""
    first, last = hazard_range(task)
    chosen = logits[:, first:last].astype(np.float64)
    cumulative = np.maximum(np.logaddexp(0.0, chosen).sum(axis=1), 1e-12)
    return cumulative + np.log(-np.expm1(-cumulative))


def _joined(parts: list[MemberScores]) -> MemberScores:
    networks = zip(*(part.network_logits for part in parts), strict=True)
    return MemberScores(
        tuple(np.concatenate(logits) for logits in networks),
        {task: np.concatenate([part.tree_logits[task] for part in parts]) for task in parts[0].tree_logits},
        np.concatenate([part.attention for part in parts]),
    )


def _network(config: RiskNetConfig, path: Path) -> RiskNet:
    network = RiskNet(config)
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network.eval()


def _weights_file(position: int) -> str:
    return f"network-{position}.pt"


def _onnx_file(position: int) -> str:
    return f"model-{position}.onnx"
