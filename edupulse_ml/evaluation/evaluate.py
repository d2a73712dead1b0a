"""Measures models beside each other on the same rows, per task and landmark, with paired intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Outcomes, Task
from edupulse_ml.evaluation.counselor_slots import SLOTS
from edupulse_ml.evaluation.fairness import Fairness
from edupulse_ml.evaluation.figures import POOLED
from edupulse_ml.evaluation.labels import evaluation_labels
from edupulse_ml.evaluation.landmark_results import Examples, TaskPart, measure_part
from edupulse_ml.evaluation.lead_time import lead_time
from edupulse_ml.evaluation.metrics import Float64, Labels
from edupulse_ml.evaluation.report import EvaluationReport, ModelLeadTime, ReportContext, TaskInWords
from edupulse_ml.evaluation.stability import Stability, WeeklyLists, list_stability
from edupulse_ml.evaluation.task_figures import TaskFigures, TaskOptions, TaskRows, measure_task

Int32 = NDArray[np.int32]

Predictions = Mapping[str, Mapping[str, Float64]]
"""Model -> task name -> probability [B]."""


@dataclass(frozen=True)
class EvaluationRows:
    """Student-weeks to judge on, B of them. `student` names the cluster that is resampled (a person, if a person can
    be several students), `outcomes` has one entry per row, `landmark` groups the rows, e.g. "day 28" or "2024-01".

    `groups` holds each row's value of every audit attribute, None where there is none. `strategies` are rules that only
    the decision curve compares: name -> task -> score (0 and 1 for a rule that flags or does not).
    """

    student: Int32
    cutoff_day: Int32
    outcomes: Outcomes
    landmark: Sequence[str]
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    strategies: Predictions = field(default_factory=dict)


@dataclass(frozen=True)
class WeeklyScores:
    """Scores of all weeks, for lead time and stability: one row per student and week, `outcomes` with one entry per row."""

    task: str
    student: Int32
    cutoff_day: Int32
    outcomes: Outcomes
    scores: Mapping[str, Float64]


@dataclass(frozen=True)
class EvaluationOptions:
    """`shortest_follow_up_days`: see `labels.evaluation_labels`. `capacity_share` is the share of students that can be
    flagged each week, for lead time, stability and fairness. `slots` are how many students the district can see at a
    landmark, `judged_share` is the part of its students that is judged.
    """

    replicates: int = 1000
    seed: int = 0
    shortest_follow_up_days: int | None = None
    capacity_share: float = 0.10
    slots: tuple[int, ...] = SLOTS
    judged_share: float = 1.0


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
    parts: list[TaskPart] = []
    figures: list[TaskFigures] = []
    in_words = tuple(_in_words(task, chosen) for task in tasks)
    for task, words in zip(tasks, in_words, strict=True):
        label = evaluation_labels(
            rows.outcomes,
            cutoff_day=rows.cutoff_day,
            task=task,
            shortest_follow_up_days=chosen.shortest_follow_up_days,
        )
        known = label != LABEL_UNKNOWN
        for name in (POOLED, *landmarks):
            keep = known & ((landmark == name) | (name == POOLED))
            examples = Examples(task.name, name, label[keep], _of_task(predictions, task, keep), rows.student[keep])
            parts.append(
                measure_part(examples, champion=context.champion, replicates=chosen.replicates, seed=chosen.seed)
            )
        task_rows = _task_rows(predictions, rows, task, label=label, calibrated=words.note is None)
        figures.append(measure_task(task_rows, _task_options(chosen, context)))
    return EvaluationReport(
        context=context,
        tasks=in_words,
        models=tuple(predictions),
        landmarks=landmarks,
        groups=tuple(group for part in parts for group in part.groups),
        differences=tuple(difference for part in parts for difference in part.differences),
        calibration=tuple(curve for part in parts for curve in part.calibration),
        precision_recall=tuple(curve for part in parts for curve in part.precision_recall),
        lead_times=() if weekly is None else _lead_times(weekly, chosen),
        replicates=chosen.replicates,
        seed=chosen.seed,
        fairness=_all_fairness(figures),
        capacity=tuple(entry for part in figures for entry in part.capacity),
        decision_curve=tuple(part.decision_curve for part in figures if part.decision_curve is not None),
        stability=() if weekly is None else _stability(weekly, chosen),
    )


def _of_task(predictions: Predictions, task: Task, keep: NDArray[np.bool_]) -> dict[str, Float64]:
    return {model: np.asarray(by_task[task.name], np.float64)[keep] for model, by_task in predictions.items()}


def _task_rows(
    predictions: Predictions, rows: EvaluationRows, task: Task, *, label: Labels, calibrated: bool
) -> TaskRows:
    keep = label != LABEL_UNKNOWN
    kept = np.flatnonzero(keep).tolist()
    strategies = {name: by_task for name, by_task in rows.strategies.items() if task.name in by_task}
    return TaskRows(
        task=task.name,
        label=label[keep],
        student=rows.student[keep],
        landmark=np.unique(np.asarray(rows.landmark), return_inverse=True)[1][keep].astype(np.int32),
        scores=_of_task(predictions, task, keep),
        calibrated=calibrated,
        strategies=_of_task(strategies, task, keep),
        groups={name: [column[row] for row in kept] for name, column in rows.groups.items()},
    )


def _task_options(options: EvaluationOptions, context: ReportContext) -> TaskOptions:
    return TaskOptions(
        champion=context.champion,
        replicates=options.replicates,
        seed=options.seed,
        capacity_share=options.capacity_share,
        slots=options.slots,
        judged_share=options.judged_share,
    )


def _all_fairness(figures: Sequence[TaskFigures]) -> Fairness | None:
    told = [part.fairness for part in figures if part.fairness is not None]
    return reduce(Fairness.joined, told) if told else None


def _stability(weekly: WeeklyScores, options: EvaluationOptions) -> tuple[Stability, ...]:
    return tuple(
        list_stability(
            WeeklyLists(weekly.student, weekly.cutoff_day, np.asarray(score, np.float64)),
            model=model,
            task=weekly.task,
            share=options.capacity_share,
            replicates=options.replicates,
            seed=options.seed,
        )
        for model, score in weekly.scores.items()
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
