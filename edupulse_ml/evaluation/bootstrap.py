"""Intervals by resampling students: a student's rows are drawn together, since they are not independent.

Legend: B rows, C students (clusters), R replicates, G groups of equal scores.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.evaluation.metrics import TOP_SHARES, Float64, Labels

BOOTSTRAPPED: Final[tuple[str, ...]] = (
    "auc",
    "average_precision",
    "precision_top5",
    "recall_top5",
    "precision_top10",
    "recall_top10",
    "brier",
)
"""Metrics that get an interval."""

_CELLS_PER_CHUNK: Final = 2_000_000


@dataclass(frozen=True)
class Interval:
    """The central 95 % of the replicates; NaN where no replicate has a value."""

    low: float
    high: float


def percentile_interval(replicates: Float64, *, coverage: float = 0.95) -> Interval:
    """The central `coverage` of the replicates that have a value."""
    valid = replicates[~np.isnan(replicates)]
    if len(valid) == 0:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(valid, [(1 - coverage) / 2, (1 + coverage) / 2])
    return Interval(float(low), float(high))


def bootstrap_metrics(
    label: Labels, scores: Mapping[str, Float64], cluster: NDArray[np.integer], *, replicates: int = 1000, seed: int
) -> Mapping[str, Mapping[str, Float64]]:
    """Replicates [R] of every metric in `BOOTSTRAPPED` for every model.

    `cluster` [B] names each row's student. All models see the same draws, so the difference of two models' replicates
    is a paired difference. NaN where a replicate holds one class only.

    Raises:
        InvalidInputError: the arrays differ in length.
    """
    if any(len(score) != len(label) for score in scores.values()) or len(cluster) != len(label):
        msg = "Labels, scores and students must have one entry per row."
        raise InvalidInputError(msg)
    rankings = {model: WeightedRanking.of(label, score) for model, score in scores.items()}
    parts: dict[str, list[Float64]] = {model: [] for model in scores}
    for weight_RB in cluster_weights(cluster, replicates=replicates, seed=seed):
        for model, ranking in rankings.items():
            parts[model].append(ranking.metrics(weight_RB))
    return {
        model: dict(zip(BOOTSTRAPPED, np.concatenate(chunks, axis=1), strict=True)) for model, chunks in parts.items()
    }


def cluster_weights(cluster: NDArray[np.integer], *, replicates: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """How often each row is drawn, in chunks [r, B]: students are drawn with replacement, as many as there are."""
    _, position = np.unique(cluster, return_inverse=True)
    n_clusters = int(position.max(initial=-1)) + 1
    if n_clusters == 0:
        return
    rng = np.random.default_rng(seed)
    per_chunk = max(1, _CELLS_PER_CHUNK // len(cluster))
    for start in range(0, replicates, per_chunk):
        rows = min(per_chunk, replicates - start)
        drawn = rng.integers(0, n_clusters, size=(rows, n_clusters))
        drawn += np.arange(rows)[:, None] * n_clusters
        counts = np.bincount(drawn.ravel(), minlength=rows * n_clusters).reshape(rows, n_clusters)
        yield counts.astype(np.float32)[:, position]


@dataclass(frozen=True)
class WeightedRanking:
    """Rows sorted once by falling score, so that each replicate costs two running sums."""

    order: NDArray[np.int64]
    label: NDArray[np.float32]
    squared_error: NDArray[np.float32]
    group_end: NDArray[np.int64]
    """[G] position of the last row of each group of equal scores."""

    @classmethod
    def of(cls, label: Labels, score: Float64) -> "WeightedRanking":
        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        return cls(
            order=order,
            label=label[order].astype(np.float32),
            squared_error=((score - label)[order] ** 2).astype(np.float32),
            group_end=np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True]),
        )

    def metrics(self, weight_RB: NDArray[np.float32]) -> Float64:
        """[len(BOOTSTRAPPED), R] metrics with these row weights."""
        sorted_RB = weight_RB[:, self.order]
        drawn_RG = np.cumsum(sorted_RB, axis=1, dtype=np.float64)[:, self.group_end]
        events_RG = np.cumsum(sorted_RB * self.label, axis=1, dtype=np.float64)[:, self.group_end]
        total, events = drawn_RG[:, -1], events_RG[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = [_weighted_auc(drawn_RG, events_RG), _weighted_average_precision(drawn_RG, events_RG)]
            for share in TOP_SHARES:
                places = np.maximum(1.0, np.ceil(share * total - 1e-9))
                caught = _events_in_top(drawn_RG, events_RG, places)
                rows += [caught / places, np.where(events > 0, caught / events, np.nan)]
            rows.append((sorted_RB @ self.squared_error).astype(np.float64) / total)
        return np.stack(rows)


def _weighted_auc(drawn_RG: Float64, events_RG: Float64) -> Float64:
    others_RG = drawn_RG - events_RG
    new_others = np.diff(others_RG, axis=1, prepend=0.0)
    above = events_RG - np.diff(events_RG, axis=1, prepend=0.0) / 2.0
    area = np.einsum("rg,rg->r", new_others, above)
    return area / (events_RG[:, -1] * others_RG[:, -1])


def _weighted_average_precision(drawn_RG: Float64, events_RG: Float64) -> Float64:
    precision = events_RG / np.maximum(drawn_RG, 1.0)
    return np.einsum("rg,rg->r", np.diff(events_RG, axis=1, prepend=0.0), precision) / events_RG[:, -1]


def _events_in_top(drawn_RG: Float64, events_RG: Float64, places: Float64) -> Float64:
    """[R] expected events among the first `places` [R] draws, ties shared out evenly."""
    group = np.minimum((drawn_RG < places[:, None]).sum(axis=1), drawn_RG.shape[1] - 1)
    rows = np.arange(len(group))
    drawn_before = np.where(group > 0, drawn_RG[rows, group - 1], 0.0)
    events_before = np.where(group > 0, events_RG[rows, group - 1], 0.0)
    in_group = drawn_RG[rows, group] - drawn_before
    share = np.where(in_group > 0, (places - drawn_before) / np.where(in_group > 0, in_group, 1.0), 0.0)
    return events_before + np.minimum(share, 1.0) * (events_RG[rows, group] - events_before)
