"""Intervals by resampling students: a student's rows are drawn together, since they are not independent.

Legend: B rows in falling order of score, C students (clusters), R replicates, E rows with an event, G groups of equal
scores that hold an event. Replicates stand in the last axis, so that each running sum is one pass over memory.
"""

from collections.abc import Iterator, Mapping, Sequence
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

_REPLICATES_PER_CHUNK: Final = 64


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
    names, position = np.unique(cluster, return_inverse=True)
    rankings = {model: WeightedRanking.of(label, score, position) for model, score in scores.items()}
    parts: dict[str, list[Float64]] = {model: [np.empty((len(BOOTSTRAPPED), 0))] for model in scores}
    for weight_CR in cluster_weights(len(names), replicates=replicates, seed=seed):
        for model, ranking in rankings.items():
            parts[model].append(ranking.metrics(weight_CR))
    return {
        model: dict(zip(BOOTSTRAPPED, np.concatenate(chunks, axis=1), strict=True)) for model, chunks in parts.items()
    }


def cluster_weights(n_clusters: int, *, replicates: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """How often each student is drawn, in chunks [C, r]: with replacement, as many draws as there are students."""
    rng = np.random.default_rng(seed)
    for start in range(0, replicates if n_clusters else 0, _REPLICATES_PER_CHUNK):
        rows = min(_REPLICATES_PER_CHUNK, replicates - start)
        drawn = rng.integers(0, n_clusters, size=(rows, n_clusters)) * rows + np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n_clusters)
        yield counts.reshape(n_clusters, rows).astype(np.float32)


@dataclass(frozen=True)
class WeightedRanking:
    """Rows sorted once by falling score, so that each replicate costs one running sum over the rows.

    Weights are whole numbers and their sums stay far below 2**24, so single precision counts them exactly.
    """

    cluster: NDArray[np.intp]
    """[B] position of each row's student."""
    event_row: NDArray[np.intp]
    """[E]"""
    group_start: NDArray[np.intp]
    """[B] first row of each row's group of equal scores; `group_end` is one past the last."""
    group_end: NDArray[np.intp]
    squared_error: NDArray[np.float32]
    """[C] summed over each student's rows."""

    @classmethod
    def of(cls, label: Labels, score: Float64, cluster: NDArray[np.integer]) -> "WeightedRanking":
        """`cluster` [B] counts from 0; every number up to its maximum is taken."""
        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        sizes = np.diff(np.r_[starts, len(ranked)])
        return cls(
            cluster=cluster[order].astype(np.intp),
            event_row=np.flatnonzero(label[order]),
            group_start=np.repeat(starts, sizes),
            group_end=np.repeat(starts + sizes, sizes),
            squared_error=np.bincount(cluster, weights=(score - label) ** 2).astype(np.float32),
        )

    def metrics(self, weight_CR: NDArray[np.float32]) -> Float64:
        """[len(BOOTSTRAPPED), R] metrics with these weights of the students."""
        weight_BR = weight_CR[self.cluster]
        drawn = _running_sum(weight_BR)
        caught = _running_sum(weight_BR[self.event_row])
        total, events = drawn[-1].astype(np.float64), caught[-1].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = list(self._ranking(drawn, caught))
            for share in TOP_SHARES:
                places = np.maximum(1.0, np.ceil(share * total - 1e-9))
                found = self._events_in_top(drawn, caught, places)
                rows += [found / places, np.where(events > 0, found / events, np.nan)]
            rows.append(self.squared_error @ weight_CR / total)
        return np.stack(rows)

    def auc(self, weight_CR: NDArray[np.float32]) -> Float64:
        """[R] ROC-AUC with these weights of the students; NaN where one class only is drawn."""
        weight_BR = weight_CR[self.cluster]
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._ranking(_running_sum(weight_BR), _running_sum(weight_BR[self.event_row]))[0]

    def events_in_top(self, weight_CR: NDArray[np.float32], *, places: Sequence[float]) -> Float64:
        """[len(places), R] expected events among the first so many draws (places may be fractions), ties shared out."""
        weight_BR = weight_CR[self.cluster]
        drawn, caught = _running_sum(weight_BR), _running_sum(weight_BR[self.event_row])
        total = drawn[-1].astype(np.float64)
        return np.stack([self._events_in_top(drawn, caught, np.minimum(n, total)) for n in places])

    def _ranking(self, drawn: NDArray[np.float32], caught: NDArray[np.float32]) -> tuple[Float64, Float64]:
        """AUC and average precision [R]; groups without an event add nothing to either."""
        first_E = np.flatnonzero(np.r_[True, np.diff(self.group_start[self.event_row]) > 0])
        rows_G = self.event_row[first_E] if len(self.event_row) else self.event_row
        before_GR, after_GR = drawn[self.group_start[rows_G]], drawn[self.group_end[rows_G]]
        events_before_GR = caught[first_E[: len(rows_G)]]
        events_after_GR = caught[np.r_[first_E[1:], len(self.event_row)][: len(rows_G)]]
        new_GR = (events_after_GR - events_before_GR).astype(np.float64)
        # Others that stand above the group, and half of those in it, beat its events.
        others_GR = (before_GR - events_before_GR + after_GR - events_after_GR) / 2
        events, total = caught[-1].astype(np.float64), drawn[-1].astype(np.float64)
        beaten = (new_GR * others_GR).sum(axis=0)
        precision_GR = events_after_GR / np.maximum(after_GR, 1)
        auc = np.where(events > 0, 1 - beaten / (events * (total - events)), np.nan)
        return np.where(np.isfinite(auc), auc, np.nan), (new_GR * precision_GR).sum(axis=0) / events

    def _events_in_top(self, drawn: NDArray[np.float32], caught: NDArray[np.float32], places: Float64) -> Float64:
        """[R] expected events among the first `places` [R] draws, ties shared out evenly."""
        row = np.minimum((drawn[1:] < places.astype(np.float32)).sum(axis=0), len(self.group_start) - 1)
        start, end, replicate = self.group_start[row], self.group_end[row], np.arange(len(row))
        drawn_before, in_group = drawn[start, replicate], drawn[end, replicate] - drawn[start, replicate]
        events_before = caught[np.searchsorted(self.event_row, start), replicate]
        events_after = caught[np.searchsorted(self.event_row, end), replicate]
        share = np.where(in_group > 0, (places - drawn_before) / np.where(in_group > 0, in_group, 1.0), 0.0)
        return events_before + np.minimum(share, 1.0) * (events_after - events_before)


def _running_sum(weight_XR: NDArray[np.float32]) -> NDArray[np.float32]:
    """[X + 1, R] sums over the first 0, 1, ..., X rows."""
    sums = np.zeros((len(weight_XR) + 1, weight_XR.shape[1]), dtype=np.float32)
    np.cumsum(weight_XR, axis=0, out=sums[1:])
    return sums
