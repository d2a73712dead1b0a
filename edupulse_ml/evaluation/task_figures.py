"""What a report holds of one task beside ranking: capacity, the decision curve and fairness, all landmarks together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.evaluation.audit_groups import AuditFamily, audit_families
from edupulse_ml.evaluation.counselor_slots import Capacity, ListedRows, capacity_figures
from edupulse_ml.evaluation.decision_curve import DecisionCurve, decision_curve
from edupulse_ml.evaluation.fairness import Fairness, GroupFairness, GroupGap
from edupulse_ml.evaluation.fairness_rates import AuditedScores, Draws, measure_family
from edupulse_ml.evaluation.metrics import Float64, Labels
from edupulse_ml.evaluation.stability import WeeklyLists, weekly_lists

Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class TaskRows:
    """Rows of one task whose label is known, B of them. `landmark` [B] is a position; `strategies` are scores of rules
    that only the decision curve compares; `groups` holds each row's value of every audit attribute.
    """

    task: str
    label: Labels
    student: Int32
    landmark: Int32
    scores: Mapping[str, Float64]
    calibrated: bool
    strategies: Mapping[str, Float64] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskOptions:
    """See `evaluate.EvaluationOptions`."""

    champion: str
    replicates: int
    seed: int
    capacity_share: float
    slots: Sequence[int]
    judged_share: float


@dataclass(frozen=True)
class TaskFigures:
    """All that is empty where no row has a label."""

    capacity: tuple[Capacity, ...] = ()
    decision_curve: DecisionCurve | None = None
    fairness: Fairness | None = None


def measure_task(rows: TaskRows, options: TaskOptions) -> TaskFigures:
    """Capacity of every model, the decision curve where calibration may be read, fairness where groups are known."""
    if len(rows.label) == 0:
        return TaskFigures()
    student = np.unique(rows.student, return_inverse=True)[1]
    return TaskFigures(
        capacity=capacity_figures(
            ListedRows(rows.label, student, rows.landmark.astype(np.intp)),
            rows.scores,
            task=rows.task,
            slots=options.slots,
            judged_share=options.judged_share,
            replicates=options.replicates,
            seed=options.seed,
        ),
        decision_curve=_curve(rows, options),
        fairness=_fairness(rows, student, options) if rows.groups else None,
    )


def _curve(rows: TaskRows, options: TaskOptions) -> DecisionCurve | None:
    # A threshold on a probability means nothing where the probability speaks of a longer interval than the label.
    if not rows.calibrated:
        return None
    return decision_curve(
        rows.label,
        {**rows.scores, **rows.strategies},
        rows.student,
        task=rows.task,
        champion=options.champion,
        replicates=options.replicates,
        seed=options.seed,
    )


def _fairness(rows: TaskRows, student: NDArray[np.intp], options: TaskOptions) -> Fairness:
    families = audit_families(rows.groups)
    groups: list[GroupFairness] = []
    gaps: list[GroupGap] = []
    for model, score in rows.scores.items():
        flagged = weekly_lists(
            WeeklyLists(rows.student, rows.landmark, score), share=options.capacity_share, seed=options.seed
        )
        audited = AuditedScores(model, rows.task, rows.label, score, flagged, student, rows.calibrated)
        draws = Draws(options.replicates, options.seed, rank_groups=model == options.champion)
        for family in families:
            own_groups, own_gaps = measure_family(audited, family, draws=draws)
            groups += own_groups
            gaps += own_gaps
    return Fairness(
        share_flagged=options.capacity_share,
        attributes=_attributes(families),
        groups=tuple(groups),
        gaps=tuple(gaps),
        not_recorded=tuple(name for name, column in rows.groups.items() if all(value is None for value in column)),
    )


def _attributes(families: Sequence[AuditFamily]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for family in families for name in family.attribute))
