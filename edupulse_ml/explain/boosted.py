"""Makes boosted trees explainable: Shapley values of the aggregates, given to the weeks that the aggregates sum up.

Legend: B students, T steps, F features, R rows of occlusion, D = 5 F + others columns.
"""

from dataclasses import dataclass

import numpy as np
import torch

from edupulse_ml.core.contract import FEATURES
from edupulse_ml.core.sequences import Bool, Float32, Int32, SequenceBatch
from edupulse_ml.explain.attributions import RiskLogit
from edupulse_ml.explain.explanation import ExplainedBatch
from edupulse_ml.explain.tree_paths import TreePaths
from edupulse_ml.explain.typical import typical_values
from edupulse_ml.models.aggregates import RECENT_WEEKS, STATISTICS, feature_statistics, other_columns
from edupulse_ml.models.boosters import TaskBoosters
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.strategies.boosted import BoostedModel


@dataclass(frozen=True)
class TreeWindows:
    """B windows as trees read them. What a student's records lack stays lacking in every row made of them."""

    z: Float32
    """[B, T, F] 0 where missing."""
    known: Bool
    """[B, T, F]"""
    length: Int32
    others: Float32
    """[B, D - 5 F]"""

    @classmethod
    def of(cls, batch: SequenceBatch, z_BTF: Float32) -> "TreeWindows":
        """`z_BTF` are the batch's z-scores, NaN where missing."""
        known = np.isfinite(z_BTF)
        return cls(np.where(known, z_BTF, np.float32(0.0)), known, batch.length, other_columns(batch))

    def rows(self, z_RTF: Float32, student: np.ndarray) -> Float32:
        """[R, D] aggregates of rows whose masks, channels and context are those of `student` [R]."""
        z = np.where(self.known[student], z_RTF, np.float32(np.nan))
        return np.concatenate([feature_statistics(z, self.length[student]), self.others[student]], axis=1)


class TreeExplainer:
    """Attributions of one task's trees in logits, against the typical student."""

    def __init__(self, trees: TaskBoosters, *, task: str) -> None:
        self._trees, self._task = trees, task
        self._paths = TreePaths(*trees.boosters[task])

    def attributions(self, windows: TreeWindows) -> Float32:
        """[B, T, F]; a student's sum is f(student) - f(typical student)."""
        every = np.arange(len(windows.z))
        rows, typical = (windows.rows(z, every) for z in (windows.z, np.zeros_like(windows.z)))
        effect = self._paths.contributions(rows, typical)[:, : len(STATISTICS) * len(FEATURES)]
        return given_to_weeks(effect.reshape(len(rows), len(STATISTICS), len(FEATURES)), windows)

    def logit(self, windows: TreeWindows) -> RiskLogit:
        """The logit of rows of `windows`."""

        def logit(z_RTF: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
            rows = windows.rows(z_RTF.cpu().numpy(), student.cpu().numpy())
            return torch.from_numpy(self._trees.logit(rows, self._task).astype(np.float32))

        return logit


class ExplainableBoosted:
    """`explanation.ExplainableModel` of a `BoostedModel`."""

    def __init__(self, model: BoostedModel) -> None:
        self._norms: InputNorms = model.norms
        self._explainer = TreeExplainer(model.trees, task=model.task.name)

    def typical_values(self, batch: SequenceBatch) -> Float32:
        return typical_values(self._norms, batch)

    def attributed(self, batch: SequenceBatch) -> ExplainedBatch:
        windows = TreeWindows.of(batch, self._norms.standardise(batch, keep_missing=True))
        return ExplainedBatch(
            torch.from_numpy(windows.z), self._explainer.attributions(windows), self._explainer.logit(windows)
        )


def given_to_weeks(effect_BSF: np.ndarray, windows: TreeWindows) -> Float32:
    """[B, T, F] each statistic's effect, given to the weeks that moved it away from 0 its way, by how far they did."""
    out = np.zeros(windows.z.shape, dtype=np.float32)
    for position, part in enumerate(_parts_of_statistics(windows)):
        towards = np.maximum(part * np.sign(part.sum(axis=1, keepdims=True)), 0.0)
        total = towards.sum(axis=1)
        share = np.divide(effect_BSF[:, position], total, out=np.zeros_like(total), where=total > 0)
        out += towards * share[:, None]
    return out


def _parts_of_statistics(windows: TreeWindows) -> list[Float32]:
    """What each week adds to each of `STATISTICS`, up to a factor per student and feature: [B, T, F] each."""
    z, length = windows.z, windows.length
    step = np.arange(z.shape[1], dtype=np.float32)
    is_last = (step[None, :] == length[:, None] - 1)[:, :, None]
    is_recent = (step[None, :] >= length[:, None] - RECENT_WEEKS)[:, :, None]
    known = windows.known.astype(np.float32)
    count = np.maximum(known.sum(axis=1), 1.0)[:, None]
    centre = np.einsum("t,btf->bf", step, known)[:, None] / count
    return [
        z * is_last,
        z * is_recent,
        z,
        z * (is_last - 1.0 / count),
        z * (step[None, :, None] - centre),
    ]
