"""Features and scores of the latest weeks against the training cohort's in the same weeks of the school year.

Legend: R rows (student-weeks), F features, K bins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FEATURE_NAMES
from edupulse_ml.monitoring import drift
from edupulse_ml.monitoring.figures import FigureKind, WatchedFigure
from edupulse_ml.monitoring.watch_policy import DriftPolicy

COUNTING_EARLIER_YEARS: Final = frozenset(
    {
        "absence_rate_prior_year",
        "gpa_cumulative",
        "credits_earned_ratio",
        "core_semester_f_count",
        "severity_ewma",
        "incident_recency",
        "oss_count_prior_years",
    }
)
"""Features that know more the further back the records reach."""
_BY_POLICY: Final = "not judged, by the policy"
_SHORT_HISTORY: Final = "not judged: it counts earlier school years, and the training cohort's records hold few of them"

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Cohort:
    """Student-weeks of one side. `student` [R] tells students apart, `week_of_year` [R] is the number of the week in its
    school year, `values` [R, V] hold V columns, NaN where unknown.
    """

    student: Int64
    week_of_year: Int32
    values: NDArray[np.floating]

    @property
    def n_students(self) -> int:
        return len(np.unique(self.student))

    def select(self, keep: NDArray[np.bool_]) -> "Cohort":
        """The rows where `keep` [R] is true."""
        return Cohort(self.student[keep], self.week_of_year[keep], self.values[keep])

    @staticmethod
    def joined(parts: Sequence["Cohort"]) -> "Cohort":
        """All rows of the parts, one after the other."""
        return Cohort(
            np.concatenate([part.student for part in parts]),
            np.concatenate([part.week_of_year for part in parts]),
            np.concatenate([part.values for part in parts]),
        )


@dataclass(frozen=True)
class _Moved:
    """One figure before its chance is adjusted for the others; `distance` is that of its column."""

    figure: WatchedFigure
    chance: float | None
    distance: float = 0.0


def feature_drift(
    reference: Cohort, current: Cohort, *, reference_days: int, policy: DriftPolicy
) -> tuple[WatchedFigure, ...]:
    """Stability index, distance and missing share of every feature. Only weeks of the year that both sides have are
    compared, the reference's weighed as the current ones are. `reference_days` lie between the first and the last week
    of the training cohort.
    """
    reference, current = _same_weeks(reference, current)
    found: list[_Moved] = []
    for index, name in enumerate(FEATURE_NAMES):
        found += _column(name, reference, current, index, policy)
        found.append(_missing(name, reference, current, index, policy))
    untold = dict.fromkeys(policy.not_judged, _BY_POLICY)
    if reference_days < policy.history_days:
        untold |= dict.fromkeys(COUNTING_EARLIER_YEARS, _SHORT_HISTORY)
    return tuple(_told_only(figure, untold) for figure in _judged(found, policy))


def _told_only(figure: WatchedFigure, untold: Mapping[str, str]) -> WatchedFigure:
    if figure.subject not in untold or figure.kind == "missing":
        return figure
    return replace(figure, limit=None, is_alert=False, note=figure.note or untold[figure.subject])


def score_drift(
    reference: Cohort, current: Cohort, *, tasks: Sequence[str], policy: DriftPolicy
) -> tuple[WatchedFigure, ...]:
    """Stability index of the scores, one column per task, and the mean score beside the training cohort's."""
    reference, current = _same_weeks(reference, current)
    found: list[_Moved] = []
    for index, task in enumerate(tasks):
        found += [
            moved
            for moved in _column(task, reference, current, index, policy, psi="score_psi")
            if moved.figure.kind != "ks"
        ]
    weights = _week_weights(reference, current)
    means = [
        WatchedFigure(
            "score_mean",
            task,
            float(current.values[:, index].mean()),
            reference=float(np.average(reference.values[:, index], weights=weights)),
            n=current.n_students,
        )
        for index, task in enumerate(tasks)
        if min(reference.n_students, current.n_students) >= policy.min_students
    ]
    return (*_judged(found, policy), *means)


def _same_weeks(reference: Cohort, current: Cohort) -> tuple[Cohort, Cohort]:
    both = np.intersect1d(reference.week_of_year, current.week_of_year)
    return (
        reference.select(np.isin(reference.week_of_year, both)),
        current.select(np.isin(current.week_of_year, both)),
    )


def _week_weights(reference: Cohort, current: Cohort) -> Float64:
    """[R] weights by which the reference's weeks of the year are as frequent as the current ones."""
    if len(reference.week_of_year) == 0:
        return np.empty(0)
    most = int(max(reference.week_of_year.max(), current.week_of_year.max(initial=0))) + 1
    have = np.bincount(reference.week_of_year, minlength=most)
    want = np.bincount(current.week_of_year, minlength=most)
    per_row = np.divide(want, have, out=np.zeros(most), where=have > 0)
    return per_row[reference.week_of_year]


def _column(
    name: str, reference: Cohort, current: Cohort, index: int, policy: DriftPolicy, *, psi: FigureKind = "psi"
) -> list[_Moved]:
    known_before = reference.select(~np.isnan(reference.values[:, index]))
    known_now = current.select(~np.isnan(current.values[:, index]))
    sizes = {"reference_n": known_before.n_students, "current_n": known_now.n_students}
    if min(sizes.values()) < policy.min_students:
        note = f"known of fewer than {policy.min_students} students in one of the two"
        return [_Moved(WatchedFigure(psi, name, None, note=note), None)]
    before = known_before.values[:, index].astype(np.float64)
    now = known_now.values[:, index].astype(np.float64)
    weights = _week_weights(known_before, known_now)
    edges = drift.bin_edges(before, bins=policy.bins)
    shares_before = drift.shares(before, edges, weights=weights)
    shares_now = drift.shares(now, edges, weights=np.ones(len(now)))
    raw = drift.raw_stability_index(shares_before, shares_now, **sizes)
    distance = drift.ks_distance(before, now, reference_weights=weights, current_weights=np.ones(len(now)))
    index_figure = WatchedFigure(
        psi,
        name,
        drift.stability_index(shares_before, shares_now, **sizes),
        limit=policy.psi_above,
        n=sizes["current_n"],
    )
    return [
        _Moved(index_figure, drift.stability_chance(raw, bins=len(shares_before), **sizes), distance),
        _Moved(
            WatchedFigure("ks", name, distance, limit=policy.ks_above, n=sizes["current_n"]),
            drift.ks_chance(distance, **sizes),
            distance,
        ),
    ]


def _missing(name: str, reference: Cohort, current: Cohort, index: int, policy: DriftPolicy) -> _Moved:
    sizes = {"reference_n": reference.n_students, "current_n": current.n_students}
    if min(sizes.values()) < policy.min_students:
        note = f"fewer than {policy.min_students} students in one of the two"
        return _Moved(WatchedFigure("missing", name, None, note=note), None)
    before = float(np.average(np.isnan(reference.values[:, index]), weights=_week_weights(reference, current)))
    now = float(np.isnan(current.values[:, index]).mean())
    figure = WatchedFigure(
        "missing", name, now - before, limit=policy.missing_rise_above, reference=before, n=sizes["current_n"]
    )
    return _Moved(figure, drift.rise_chance(before, now, **sizes))


def _judged(found: Sequence[_Moved], policy: DriftPolicy) -> tuple[WatchedFigure, ...]:
    """The figures with their chances adjusted within each kind, alerts marked."""
    by_kind: dict[FigureKind, list[float]] = {}
    for moved in found:
        if moved.chance is not None:
            by_kind.setdefault(moved.figure.kind, []).append(moved.chance)
    adjusted: Mapping[FigureKind, list[float]] = {kind: drift.holm(chances) for kind, chances in by_kind.items()}
    return tuple(
        moved.figure if moved.chance is None else _with_chance(moved, adjusted[moved.figure.kind].pop(0), policy)
        for moved in found
    )


def _with_chance(moved: _Moved, chance: float, policy: DriftPolicy) -> WatchedFigure:
    figure = moved.figure
    is_large = figure.value is not None and figure.limit is not None and figure.value > figure.limit
    if figure.kind in {"psi", "score_psi"}:
        is_large = is_large and moved.distance >= policy.psi_needs_ks
    return replace(figure, chance=chance, is_alert=is_large and chance < policy.chance_below)
