"""Predictions whose time has come against what happened: ranking, calibration and fairness, with alerts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Outcomes, Task, task_labels
from edupulse_ml.evaluation.evaluate import EvaluationOptions, EvaluationRows, evaluate_models
from edupulse_ml.evaluation.fairness import PAIR
from edupulse_ml.evaluation.figures import Figure
from edupulse_ml.evaluation.gate_measures import slope_figure
from edupulse_ml.evaluation.report import EvaluationReport, ReportContext
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from edupulse_ml.monitoring.figures import FigureKind, WatchedFigure
from edupulse_ml.monitoring.watch_policy import OutcomePolicy

Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]

SERVED: Final = "served"
"""What the report calls whatever was served when the predictions were made."""

_GAPS: Final[tuple[tuple[Literal["fnr", "fpr"], FigureKind], ...]] = (("fnr", "fnr_gap"), ("fpr", "fpr_gap"))
_CONFIDENCE: Final = 0.95
_NONE_YET: Final = "no prediction has come of age"


@dataclass(frozen=True)
class ServedScores:
    """Stored predictions, one per student and week: position of the student, Monday of the feature week, and score by
    task; all [B].
    """

    student: Int32
    week: Int32
    scores: Mapping[str, Float64]

    def select(self, rows: NDArray[np.intp]) -> "ServedScores":
        """The predictions at these positions."""
        scores = {task: values[rows] for task, values in self.scores.items()}
        return ServedScores(self.student[rows], self.week[rows], scores)


@dataclass(frozen=True)
class Students:
    """Of each student position: the person, what is known of the outcome, and the audit attributes."""

    person: Int32
    outcomes: Outcomes
    audit: Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class JudgedOutcomes:
    """The evaluation of what was served, and by task the calibration slope with its interval."""

    report: EvaluationReport
    slopes: Mapping[str, Figure]


def monthly(served: ServedScores) -> ServedScores:
    """The first prediction of each student and month: what is judged, as in every evaluation."""
    month = (served.week + CUTOFF_DAYS_AFTER_MONDAY).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    order = np.lexsort((served.week, month, served.student))
    pairs = np.stack([served.student[order].astype(np.int64), month[order]])
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    return served.select(np.sort(order[is_first]))


def judge_served(
    served: ServedScores,
    students: Students,
    *,
    tasks: Sequence[Task],
    title: str,
    created_at: str,
    policy: OutcomePolicy,
) -> JudgedOutcomes | None:
    """What was served, judged on the tasks whose answers are known for some rows; None where no prediction has
    come of age.
    """
    cutoff = (served.week + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)
    outcomes = students.outcomes.select(served.student)
    labels = {task.name: task_labels(outcomes, cutoff_day=cutoff, task=task) for task in tasks}
    told = [task for task in tasks if (labels[task.name] != LABEL_UNKNOWN).any()]
    if not told:
        return None
    months = np.datetime_as_string(cutoff.astype("datetime64[D]").astype("datetime64[M]")).tolist()
    report = evaluate_models(
        {SERVED: served.scores},
        EvaluationRows(
            students.person[served.student],
            cutoff,
            outcomes,
            months,
            groups={name: [values[who] for who in served.student] for name, values in students.audit.items()},
        ),
        tasks=told,
        context=ReportContext(
            title=title,
            champion=SERVED,
            created_at=created_at,
            split="predictions that were served, by the outcomes known now",
            notes=("Whoever was helped because of a flag and stayed counts as a false alarm.",),
        ),
        options=EvaluationOptions(replicates=policy.replicates),
    )
    return JudgedOutcomes(
        report, {task.name: _slope(report, task.name, labels[task.name], served, students) for task in told}
    )


def _slope(
    report: EvaluationReport, task: str, label: NDArray[np.int8], served: ServedScores, students: Students
) -> Figure:
    untold = report.figure("calibration_slope", model=SERVED, task=task)
    if untold.value is None:
        return untold
    known = label != LABEL_UNKNOWN
    person = students.person[served.student[known]]
    return slope_figure(label[known], served.scores[task][known], person, confidence=_CONFIDENCE)


def outcome_figures(
    judged: JudgedOutcomes | None, *, tasks: Sequence[Task], at_promotion: Mapping[str, float], policy: OutcomePolicy
) -> tuple[WatchedFigure, ...]:
    """What was judged, with the policy's alerts. `at_promotion` holds the model's ROC-AUC by task as it was registered;
    tasks without one are told and not judged.
    """
    if judged is None:
        return tuple(WatchedFigure("auc", task.name, None, note=_NONE_YET) for task in tasks)
    return tuple(figure for task in judged.report.tasks for figure in _of_task(judged, task.name, at_promotion, policy))


def _of_task(
    judged: JudgedOutcomes, task: str, at_promotion: Mapping[str, float], policy: OutcomePolicy
) -> Iterator[WatchedFigure]:
    report = judged.report
    group = report.group(model=SERVED, task=task)

    def of(metric: str) -> Figure:
        return report.figure(metric, model=SERVED, task=task)

    auc, before = of("auc"), at_promotion.get(task)
    limit = None if before is None else before - policy.auc_fall_above
    fallen = limit is not None and auc.high is not None and auc.high < limit
    yield _figure("auc", task, auc, limit=limit, reference=before, n=group.n_students, is_alert=fallen)
    yield _figure("average_precision", task, of("average_precision"), n=group.n_students)
    slope, (lowest, highest) = judged.slopes[task], policy.calibration_slope
    outside = slope.low is not None and slope.high is not None and (slope.high < lowest or slope.low > highest)
    nearest = lowest if slope.value is not None and slope.value < 1 else highest
    yield _figure("calibration_slope", task, slope, limit=nearest, n=group.n_students, is_alert=outside)
    yield _figure("ece", task, of("ece"), n=group.n_students)
    yield from _gaps(report, task, policy)


def _gaps(report: EvaluationReport, task: str, policy: OutcomePolicy) -> Iterator[WatchedFigure]:
    if report.fairness is None:
        return
    for attribute in report.fairness.attributes:
        if PAIR in attribute:
            continue
        for metric, kind in _GAPS:
            found = report.fairness.gap(metric, model=SERVED, task=task, attribute=attribute)
            if found is not None:
                is_wide = found.gap.low is not None and found.gap.low > policy.gap_above
                note = None if found.higher is None else f"higher for {found.higher} than for {found.lower}"
                yield _figure(
                    kind, f"{task}:{attribute}", found.gap, limit=policy.gap_above, is_alert=is_wide, note=note
                )


def _figure(
    kind: FigureKind,
    subject: str,
    figure: Figure,
    *,
    limit: float | None = None,
    reference: float | None = None,
    n: int | None = None,
    is_alert: bool = False,
    note: str | None = None,
) -> WatchedFigure:
    return WatchedFigure(
        kind,
        subject,
        figure.value,
        limit=limit,
        low=figure.low,
        high=figure.high,
        reference=reference,
        n=n,
        is_alert=is_alert,
        note=figure.reason or note,
    )
