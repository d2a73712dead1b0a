"""What the tests of faithfulness ask of a model: its attributions, its logit for changed inputs, and what it shows.

Legend: B students, T steps, F features, R rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.sequences import Float32, SequenceBatch
from edupulse_ml.explain.concepts import CONCEPTS
from edupulse_ml.explain.explanation import ExplainableModel, Explanation, explain_batch
from edupulse_ml.explain.networks import NetworkExplainer
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.engines import TorchEngine
from edupulse_ml.models.gru import RiskNet
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.strategies.ensemble import EnsembleModel
from edupulse_ml.models.strategies.protocol import ServableModel

NOISE: Final = 0.01
"""Relative input noise under which reasons must keep (sources.md 5.3, F6)."""
_POSITION: Final = {concept.name: position for position, concept in enumerate(CONCEPTS)}


@dataclass(frozen=True)
class ShownReason:
    """A reason as it was shown: of which student of the batch, which of `CONCEPTS`, and its claimed effect in logits."""

    student: int
    concept: int
    effect: float


@dataclass(frozen=True)
class Probe:
    """A model on B students."""

    z: Float32
    """[B, T, F]"""
    attribution: Float32
    """[B, T, F]"""
    logit: Callable[[Float32, NDArray[np.int64]], NDArray[np.float32]]
    """(z [R, T, F], student [R]) -> [R]"""
    shown: tuple[ShownReason, ...]


def probe(
    model: ExplainableModel,
    batch: SequenceBatch,
    *,
    explain: Callable[[SequenceBatch], Sequence[Explanation]] | None = None,
) -> Probe:
    """What `model` attributes and shows; `explain` None: what `explain_batch` shows of it."""
    explained = model.attributed(batch)
    explanations = explain_batch(model, batch) if explain is None else explain(batch)
    shown = tuple(
        ShownReason(student, _POSITION[reason.concept], reason.effect)
        for student, explanation in enumerate(explanations)
        for reason in (*explanation.reasons, *explanation.protective_factors)
    )

    def logit(z_RTF: Float32, student: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.no_grad():
            return explained.logit(torch.from_numpy(z_RTF), torch.from_numpy(student)).cpu().numpy()

    return Probe(explained.z.cpu().numpy(), explained.attribution, logit, shown)


def noisy(batch: SequenceBatch, *, seed: int) -> SequenceBatch:
    """The batch with every value up to `NOISE` larger or smaller; what is missing stays missing."""
    factor = 1.0 + np.random.default_rng(seed).uniform(-NOISE, NOISE, batch.values.shape)
    return replace(batch, values=(batch.values * factor).astype(np.float32))


def attributions_by_seed(model: ServableModel, batch: SequenceBatch) -> list[Float32]:
    """Attributions [B, T, F] of each network that differs from the others in its seed only; none without networks."""
    networks, norms = _networks(model)
    return [_attributions(network, norms, model.task, batch) for network in networks]


def random_attributions(model: ServableModel, batch: SequenceBatch, *, seed: int) -> Float32 | None:
    """Attributions of a network of the same form with weights drawn at random; None where the model has no network."""
    networks, norms = _networks(model)
    if norms is None:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = RiskNet(networks[0].config).eval()
    return _attributions(twin, norms, model.task, batch)


def _networks(model: ServableModel) -> tuple[tuple[RiskNet, ...], InputNorms | None]:
    if isinstance(model, ModelArtifact):
        return (model.network,), model.norms
    if isinstance(model, EnsembleModel):
        return model.members.networks, model.norms
    return (), None


def _attributions(network: RiskNet, norms: InputNorms | None, task: Task, batch: SequenceBatch) -> Float32:
    if norms is None:
        msg = "a network is explained with the norms that it was trained with"
        raise ValueError(msg)
    return NetworkExplainer(network, TorchEngine(network), task).attributions(norms.prepare(batch))
