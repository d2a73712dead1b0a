"""Measures models beside each other on the same rows, per task and landmark, with paired intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Outcomes, Task
from edupulse_ml.evaluation.bootstrap import BOOTSTRAPPED, bootstrap_metrics, percentile_interval
from edupulse_ml.evaluation.labels import evaluation_labels
from edupulse_ml.evaluation.lead_time import lead_time
from edupulse_ml.evaluation.metrics import ECE_BINS, NO_EVENT, Float64, Labels, calibration_curve, measure
from edupulse_ml.evaluation.report import (
    MIN_STUDENTS,
    POOLED,
    TOO_FEW,
    CalibrationCurve,
    EvaluationReport,
    Figure,
    GroupResult,
    ModelLeadTime,
    PairedDifference,
    PrecisionRecallCurve,
    ReportContext,
    TaskInWords,
)

Int32 = NDArray[np.int32]

_CURVE_POINTS = 100

Predictions = Mapping[str, Mapping[str, Float64]]
"""Model -> task name -> probability [B]."""


@dataclass(frozen=True)
class EvaluationRows:
    """Student-weeks to judge on, B of them. `student` names the cluster that is resampled (a person, if a person can
    be several students), `outcomes` has one entry per row, `landmark` groups the rows, e.g. "day 28" or "2024-01".
    """

    student: Int32
    cutoff_day: Int32
    outcomes: Outcomes
    landmark: Sequence[str]


@dataclass(frozen=True)
class WeeklyScores:
    """Scores of all weeks, for the lead time: one row per student and week, `outcomes` with one entry per row."""

    task: str
    student: Int32
    cutoff_day: Int32
    outcomes: Outcomes
    scores: Mapping[str, Float64]


@dataclass(frozen=True)
class EvaluationOptions:
    """`shortest_follow_up_days`: see `labels.evaluation_labels`. `capacity_share` is the share of students that can be
    flagged each week, for the lead time.
    """

    replicates: int = 1000
    seed: int = 0
    shortest_follow_up_days: int | None = None
    capacity_share: float = 0.10


def evaluate_models(
    predictions: Predictions,
    rows: EvaluationRows,
    *,
    tasks: Sequence[Task],
    context: ReportContext,
    options: EvaluationOptions | None = None,
    weekly: WeeklyScores | None = None,
) -> EvaluationReport:
    """The report of all models on all tasks, per landmark (in order of first appearance by date) and pooled.

    Raises:
        InvalidInputError: a prediction is missing or has another length, or the champion is not among the models.
    """
    chosen = options if options is not None else EvaluationOptions()
    _require_predictions(predictions, rows, tasks, context)
    landmark = np.asarray(rows.landmark)
    landmarks = _landmarks_by_date(landmark, rows.cutoff_day)
    parts: list[_TaskPart] = []
    for task in tasks:
        label = evaluation_labels(
            rows.outcomes,
            cutoff_day=rows.cutoff_day,
            task=task,
            shortest_follow_up_days=chosen.shortest_follow_up_days,
        )
        for name in (POOLED, *landmarks):
            keep = (label != LABEL_UNKNOWN) & ((landmark == name) | (name == POOLED))
            scores = {model: np.asarray(by_task[task.name], np.float64)[keep] for model, by_task in predictions.items()}
            examples = _Examples(task.name, name, label[keep], scores, rows.student[keep])
            parts.append(_measure_part(examples, context.champion, chosen))
    return EvaluationReport(
        context=context,
        tasks=tuple(_in_words(task, chosen) for task in tasks),
        models=tuple(predictions),
        landmarks=landmarks,
        groups=tuple(group for part in parts for group in part.groups),
        differences=tuple(difference for part in parts for difference in part.differences),
        calibration=tuple(curve for part in parts for curve in part.calibration),
        precision_recall=tuple(curve for part in parts for curve in part.precision_recall),
        lead_times=() if weekly is None else _lead_times(weekly, chosen),
        replicates=chosen.replicates,
        seed=chosen.seed,
    )


@dataclass(frozen=True)
class _Examples:
    task: str
    landmark: str
    label: Labels
    scores: Mapping[str, Float64]
    student: Int32


@dataclass(frozen=True)
class _TaskPart:
    groups: tuple[GroupResult, ...]
    differences: tuple[PairedDifference, ...] = ()
    calibration: tuple[CalibrationCurve, ...] = ()
    precision_recall: tuple[PrecisionRecallCurve, ...] = ()


def _measure_part(examples: _Examples, champion: str, options: EvaluationOptions) -> _TaskPart:
    n_students = len(np.unique(examples.student))
    n_events = int(examples.label.sum())
    if n_students < MIN_STUDENTS or n_events == 0:
        return _TaskPart(tuple(_untold(examples, model, n_students) for model in examples.scores))
    replicates = bootstrap_metrics(
        examples.label, examples.scores, examples.student, replicates=options.replicates, seed=options.seed
    )
    groups = tuple(
        GroupResult(
            model=model,
            task=examples.task,
            landmark=examples.landmark,
            n_rows=len(examples.label),
            n_students=n_students,
            n_events=n_events,
            base_rate=n_events / len(examples.label),
            figures=_figures(examples.label, score, replicates[model]),
        )
        for model, score in examples.scores.items()
    )
    differences = tuple(
        difference
        for rival in examples.scores
        if rival != champion
        for difference in _differences(examples, groups, replicates, champion=champion, rival=rival)
    )
    if examples.landmark != POOLED:
        return _TaskPart(groups, differences)
    n_bins = max(1, min(ECE_BINS, len(examples.label) // MIN_STUDENTS))
    return _TaskPart(
        groups,
        differences,
        calibration=tuple(
            CalibrationCurve(model, examples.task, calibration_curve(examples.label, score, n_bins=n_bins))
            for model, score in examples.scores.items()
        ),
        precision_recall=tuple(
            _precision_recall(examples.label, score, model, examples.task) for model, score in examples.scores.items()
        ),
    )


def _untold(examples: _Examples, model: str, n_students: int) -> GroupResult:
    few = n_students < MIN_STUDENTS
    return GroupResult(
        model=model,
        task=examples.task,
        landmark=examples.landmark,
        n_rows=None if few else len(examples.label),
        n_students=None if few else n_students,
        n_events=None if few else 0,
        base_rate=None if few else 0.0,
        figures={},
        reason=TOO_FEW if few else NO_EVENT,
    )


def _figures(label: Labels, score: Float64, replicates: Mapping[str, Float64]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for metric, measured in measure(label, score).items():
        value = _or_none(measured.value)
        if metric in BOOTSTRAPPED and value is not None:
            interval = percentile_interval(replicates[metric])
            figures[metric] = Figure(value, _or_none(interval.low), _or_none(interval.high))
        else:
            figures[metric] = Figure(value, reason=measured.reason)
    return figures


def _differences(
    examples: _Examples,
    groups: Sequence[GroupResult],
    replicates: Mapping[str, Mapping[str, Float64]],
    *,
    champion: str,
    rival: str,
) -> list[PairedDifference]:
    by_model = {group.model: group for group in groups}
    found: list[PairedDifference] = []
    for metric in BOOTSTRAPPED:
        mine, theirs = by_model[champion].figures[metric].value, by_model[rival].figures[metric].value
        interval = percentile_interval(replicates[champion][metric] - replicates[rival][metric])
        if mine is None or theirs is None or math.isnan(interval.low):
            continue
        found.append(
            PairedDifference(
                task=examples.task,
                landmark=examples.landmark,
                metric=metric,
                champion=champion,
                rival=rival,
                difference=mine - theirs,
                low=interval.low,
                high=interval.high,
            )
        )
    return found


def _precision_recall(label: Labels, score: Float64, model: str, task: str) -> PrecisionRecallCurve:
    precision, recall, _ = precision_recall_curve(label, score)
    wanted = np.unique(np.linspace(0, len(recall) - 1, min(_CURVE_POINTS, len(recall))).astype(np.int64))[::-1]
    return PrecisionRecallCurve(
        model, task, tuple(float(v) for v in recall[wanted]), tuple(float(v) for v in precision[wanted])
    )


def _lead_times(weekly: WeeklyScores, options: EvaluationOptions) -> tuple[ModelLeadTime, ...]:
    return tuple(
        ModelLeadTime(
            model,
            weekly.task,
            lead_time(
                weekly.student,
                weekly.cutoff_day,
                np.asarray(score, np.float64),
                weekly.outcomes,
                share=options.capacity_share,
                seed=options.seed,
            ),
        )
        for model, score in weekly.scores.items()
    )


def _in_words(task: Task, options: EvaluationOptions) -> TaskInWords:
    shortest = options.shortest_follow_up_days
    if shortest is None or shortest >= task.end_day:
        return TaskInWords(task.name, task.start_day, task.end_day)
    note = (
        f"Counted until the data ends where that is earlier, after at least {shortest} days: the ranking is fair, "
        "the calibration of this task is not to be read."
    )
    return TaskInWords(task.name, task.start_day, task.end_day, note)


def _landmarks_by_date(landmark: NDArray[np.str_], cutoff_day: Int32) -> tuple[str, ...]:
    names, position = np.unique(landmark, return_inverse=True)
    earliest = np.full(len(names), np.iinfo(np.int32).max, dtype=np.int64)
    np.minimum.at(earliest, position, cutoff_day)
    return tuple(str(names[index]) for index in np.argsort(earliest, kind="stable"))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _require_predictions(
    predictions: Predictions, rows: EvaluationRows, tasks: Sequence[Task], context: ReportContext
) -> None:
    if context.champion not in predictions:
        msg = f"The champion {context.champion} is not among the models {', '.join(predictions)}."
        raise InvalidInputError(msg)
    n_rows = len(rows.cutoff_day)
    for model, by_task in predictions.items():
        for task in tasks:
            if task.name not in by_task or len(by_task[task.name]) != n_rows:
                msg = f"Model {model} has no prediction of task {task.name} for each of the {n_rows} rows."
                raise InvalidInputError(msg)
