"""Capacity: what lists of a given length hold, drawn up afresh at each landmark as a counselor would.

Legend: B rows, L landmarks, X lengths of lists, R replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.evaluation.bootstrap import WeightedRanking, cluster_weights
from edupulse_ml.evaluation.figures import MIN_STUDENTS, TOO_FEW, Figure, resampled
from edupulse_ml.evaluation.metrics import TOP_SHARES, Float64, Labels, capacity

SLOTS: Final = (25, 50, 100)
"""Students whom a district's counselors can see at each landmark. A counselor in the US has about 376 students, ASCA
recommends 250: twenty-five is a tenth of one counselor's.
"""


@dataclass(frozen=True)
class Capacity:
    """Lists of one length, of one model on one task, over all landmarks together.

    `slots` is how many students the whole district can see at a landmark; the lists then hold as large a part of it as
    was judged. `share` is the length as a share of the students instead. `flagged_per_leaver` is 1 / precision: how
    many students are seen for each one who leaves.
    """

    model: str
    task: str
    slots: int | None
    share: float | None
    n_lists: int
    precision: Figure
    recall: Figure
    flagged_per_leaver: float | None = None


@dataclass(frozen=True)
class ListedRows:
    """Rows of one task: label and student (counted from 0 without gaps), and the position of the landmark, all [B]."""

    label: Labels
    student: NDArray[np.intp]
    landmark: NDArray[np.intp]


def capacity_figures(
    rows: ListedRows,
    scores: Mapping[str, Float64],
    *,
    task: str,
    slots: Sequence[int] = SLOTS,
    judged_share: float = 1.0,
    replicates: int,
    seed: int,
) -> tuple[Capacity, ...]:
    """Precision and recall of lists of the `TOP_SHARES` and of the absolute `slots`, for every model.

    `judged_share` is the part of the district's students that is judged; a list for `slots` students holds
    `slots * judged_share` of them. Slots that hold every judged student of a landmark are left out.
    """
    lists = [np.flatnonzero(rows.landmark == landmark) for landmark in np.unique(rows.landmark)]
    told = len(np.unique(rows.student)) >= MIN_STUDENTS
    shortest = min((len(own) for own in lists), default=0)
    lengths: list[tuple[int | None, float | None, list[float]]] = [
        (None, share, [float(capacity(len(own), share)) for own in lists]) for share in TOP_SHARES
    ]
    lengths += [(n, None, [n * judged_share] * len(lists)) for n in slots if n * judged_share < shortest]
    found: list[Capacity] = []
    few = Figure(None, reason=TOO_FEW)
    for model, score in scores.items():
        rankings = [WeightedRanking.of(rows.label[own], score[own], rows.student[own]) for own in lists]
        figures = _figures(rows, rankings, [places for _, _, places in lengths], replicates=replicates, seed=seed)
        for (n, share, _), (precision, recall) in zip(lengths, figures, strict=True):
            per_leaver = 1 / precision.value if told and precision.value else None
            shown = (precision, recall) if told else (few, few)
            found.append(Capacity(model, task, n, share, len(lists), *shown, per_leaver))
    return tuple(found)


def _figures(
    rows: ListedRows,
    rankings: Sequence[WeightedRanking],
    lengths: Sequence[Sequence[float]],
    *,
    replicates: int,
    seed: int,
) -> list[tuple[Figure, Figure]]:
    """Precision and recall per length, each the places per landmark."""
    n_students = int(rows.student.max(initial=-1)) + 1
    places_XL = np.asarray(lengths, dtype=np.float64).reshape(len(lengths), len(rankings))
    precision, recall = _shares(rows, rankings, places_XL, np.ones((n_students, 1), dtype=np.float32))
    draws = [
        _shares(rows, rankings, places_XL, weight_CR)
        for weight_CR in cluster_weights(n_students, replicates=replicates, seed=seed)
    ]
    precisions, recalls = (np.concatenate([part[k] for part in [*draws, (precision, recall)]], axis=1) for k in (0, 1))
    return [
        (
            resampled(float(precision[x, 0]), precisions[x, :-1]),
            resampled(float(recall[x, 0]), recalls[x, :-1]),
        )
        for x in range(len(lengths))
    ]


def _shares(
    rows: ListedRows, rankings: Sequence[WeightedRanking], places_XL: Float64, weight_CR: NDArray[np.float32]
) -> tuple[Float64, Float64]:
    """Precision and recall [X, R] of X lengths."""
    caught = np.zeros((len(places_XL), weight_CR.shape[1]))
    for ranking, places in zip(rankings, places_XL.T, strict=True):
        caught += ranking.events_in_top(weight_CR, places=places.tolist())
    events = weight_CR[rows.student[rows.label == 1]].sum(axis=0, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return caught / places_XL.sum(axis=1, keepdims=True), caught / events
