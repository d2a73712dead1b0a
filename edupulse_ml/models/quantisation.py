"""Coarser arithmetic, and the gate it must pass: what a student is told may not change.

Legend: B examples.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.predictions import CategoryPolicy

LEAST_SPEEDUP: Final = 1.05
"""Coarser arithmetic must be faster by this factor, which is what repeated measurements of one engine differ by."""


@dataclass(frozen=True)
class GateLimits:
    """The most that coarser arithmetic may change."""

    score_shift_p99: float = 0.01
    auc_change: float = 0.001
    flip_share: float = 0.005


@dataclass(frozen=True)
class GateReport:
    """What coarser arithmetic changed on B examples with known outcomes."""

    score_shift_p99: float
    """99th percentile of the absolute change of the calibrated risk score."""
    auc_change: float
    """Absolute change of the area under the ROC curve."""
    flip_share: float
    """Share of students whose category changed."""
    examples: int

    def objections(self, limits: GateLimits | None = None) -> tuple[str, ...]:
        """Why the engine is not admitted, in words; empty if it is."""
        allowed = limits or GateLimits()
        figures = (
            ("99th percentile of the score shift", self.score_shift_p99, allowed.score_shift_p99),
            ("change of the ROC AUC", self.auc_change, allowed.auc_change),
            ("share of changed categories", self.flip_share, allowed.flip_share),
        )
        return tuple(f"{name} {value:.5f} above {limit}" for name, value, limit in figures if not value <= limit)


def compare_scores(
    *,
    reference: NDArray[np.floating],
    candidate: NDArray[np.floating],
    label: NDArray[np.integer],
    policy: CategoryPolicy,
) -> GateReport:
    """What changed from `reference` to `candidate`, both calibrated scores [B]; `label` [B] is 1 with the event, 0
    without, and anything else where unknown. Examples of unknown outcome count for all but the AUC.

    Raises:
        InvalidInputError: no examples, sizes that differ, scores that are not finite, or outcomes of one kind only.
    """
    sizes = {len(reference), len(candidate), len(label)}
    known = (label == 0) | (label == 1)
    if len(sizes) != 1 or not len(label) or len(np.unique(label[known])) != 2:
        msg = (
            f"The accuracy gate needs as many scores of both engines as outcomes, of both kinds; it was given "
            f"{len(reference)}, {len(candidate)} and {len(label)}: take a cohort with and without the event."
        )
        raise InvalidInputError(msg)
    if not (np.isfinite(reference).all() and np.isfinite(candidate).all()):
        msg = "The accuracy gate was given a score that is not a number: look for the engine that gave it."
        raise InvalidInputError(msg)
    flips = [
        policy.categorise(float(before)) != policy.categorise(float(after))
        for before, after in zip(reference, candidate, strict=True)
    ]
    areas = [float(roc_auc_score(label[known], scores[known])) for scores in (reference, candidate)]
    return GateReport(
        score_shift_p99=float(np.quantile(np.abs(candidate - reference), 0.99)),
        auc_change=abs(areas[1] - areas[0]),
        flip_share=float(np.mean(flips)),
        examples=len(label),
    )


def is_worth_it(report: GateReport, *, exact_s: float, coarse_s: float) -> bool:
    """Whether the coarser engine is admitted by the gate and clearly faster; the times are of the same work."""
    return exact_s >= LEAST_SPEEDUP * coarse_s and not report.objections()


def quantise_weights(source: Path, target: Path) -> None:
    """Write the graph at `source` with int8 weights; activations are quantised as they come.

    ONNX Runtime has no int8 GRU, so the recurrence stays in float32: what becomes int8 are the products around it.
    """
    # Its import takes a second, and only a model being built needs it.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(source), str(target), weight_type=QuantType.QInt8)
