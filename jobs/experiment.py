"""One honest experiment on a district's history: split, fit, calibrate, and judge on a later year and other people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.feedback import Interventions, ReportedOutcomes, no_interventions, nothing_reported
from edupulse_ml.core.outcomes import EARLY_TASK, Outcomes, Task
from edupulse_ml.core.records import ExitEvents
from edupulse_ml.core.sequences import PAD, FeatureBlock, SequenceBatch
from edupulse_ml.core.weeks import day_from_number, day_number
from edupulse_ml.evaluation.evaluate import EvaluationOptions, EvaluationRows, WeeklyScores, evaluate_models
from edupulse_ml.evaluation.outcomes import COUNT_DAY, COUNT_MONTH, eligible_steps
from edupulse_ml.evaluation.report import DataWindow, EvaluationReport, ReportContext
from edupulse_ml.evaluation.reported_outcomes import MergedOutcomes, merged_outcomes
from edupulse_ml.evaluation.splits import Split, monthly_landmarks, split_by_person, split_by_school_year
from edupulse_ml.models.labels import labelled_steps
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, TrainingData, labelled_rows
from jobs.comparisons import simple_strategies
from jobs.feedback_use import FeedbackUse, InterventionRule, feedback_notes, feedback_use

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
Predict = Callable[[SequenceBatch], Mapping[str, NDArray[np.float64]]]

CHAMPION: Final = "gru"
_ROWS_PER_RUN: Final = 8192
_ENOUGH_LEAVERS: Final = 100
"""With fewer students who leave, a calibration curve, and the epoch at which training stops, are chosen by chance."""


@dataclass(frozen=True)
class History:
    """A district's student-weeks and how its enrolments ended, as known on `known_day`. `person_ids` has one entry per
    student of the block, and so has each audit attribute in `audit` (None: not recorded); no model sees those.
    `reported` outcomes complete the exits, `interventions` say which student-weeks are not learned from.
    """

    block: FeatureBlock
    exits: ExitEvents
    person_ids: tuple[str, ...]
    known_day: int
    audit: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    reported: ReportedOutcomes = field(default_factory=nothing_reported)
    interventions: Interventions = field(default_factory=no_interventions)


@dataclass(frozen=True)
class Experiment:
    """What is learned from and what is judged.

    `calibration` holds the later year of people that training never saw, and in a small district, where that year has
    fewer than 100 of them leaving, their earlier years too. `held_out` holds their earlier years, for questions that
    reach beyond what the later year can answer. `test_outcomes` are as known now, the others as known at the
    first test cutoff.
    """

    train: TrainingData
    calibration: TrainingData
    held_out: TrainingData
    test: TrainingData
    returning: TrainingData
    split: Split
    tasks: tuple[Task, ...]
    window_weeks: int
    person: Int32
    """[N] position of each student's person, which intervals resample."""
    audit: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """As in `History`; for the report only."""
    feedback: FeedbackUse | None = None
    """What feedback changed; None: nobody gave any."""


def latest_test_year(history: History) -> int:
    """The latest school year whose outcomes are settled: its following 1 October has passed.

    Raises:
        NotEnoughDataError: no school year is.
    """
    years = np.unique(history.block.school_year[history.block.week != PAD])
    settled = [
        int(year) for year in years if day_number(date(int(year) + 1, COUNT_MONTH, COUNT_DAY)) <= history.known_day
    ]
    if not settled:
        msg = (
            "No school year is settled yet: a year can be judged once the 1 October after it has passed. Import an "
            "earlier year, or wait."
        )
        raise NotEnoughDataError(msg)
    return settled[-1]


def set_up(
    history: History, *, test_year: int | None, tasks: Sequence[Task], window_weeks: int, seed: int
) -> Experiment:
    """Split by school year and by person (sources.md 4.1); `test_year` None: by person only.

    Raises:
        InvalidInputError: fewer than three school years lead up to `test_year`.
    """
    block = history.block
    if test_year is None:
        split = split_by_person(block, history.person_ids, known_day=history.known_day, seed=seed)
    else:
        split = split_by_school_year(block, history.person_ids, test_year=test_year, seed=seed)
    merged = _outcomes(history, split.label_cutoff_day)
    known_before, known_now = merged.outcomes, _outcomes(history, history.known_day).outcomes
    untaught = InterventionRule(tasks[0].end_day, seed).steps_to_leave_out(
        block, known_before, history.interventions, as_of_day=split.label_cutoff_day
    )

    def part(within: Bool, outcomes: Outcomes) -> TrainingData:
        learned_from = within if outcomes is known_now else within & ~untaught
        return TrainingData(block, outcomes, eligible_steps(block, outcomes, within=learned_from))

    calibration = part(split.calibrate, known_before)
    if _students_with_event(calibration, tasks[0]) < _ENOUGH_LEAVERS:
        calibration = part(split.calibrate | split.held_out, known_before)
    return Experiment(
        train=part(split.train, known_before),
        calibration=calibration,
        held_out=part(split.held_out, known_before),
        test=part(split.test, known_now),
        returning=part(split.returning, known_now),
        split=split,
        tasks=tuple(tasks),
        window_weeks=window_weeks,
        person=np.unique(np.asarray(history.person_ids), return_inverse=True)[1].astype(np.int32),
        audit=history.audit,
        feedback=feedback_use(
            merged,
            eligible_steps(block, known_before, within=split.train | split.calibrate | split.held_out),
            untaught,
            met_now=InterventionRule(tasks[0].end_day, seed).steps_that_met(
                block, history.interventions, as_of_day=history.known_day
            ),
        ),
    )


def judge(
    experiment: Experiment,
    models: Mapping[str, Predict],
    *,
    title: str,
    created_at: str,
    replicates: int,
    seed: int,
    champion: str = CHAMPION,
    notes: Sequence[str] = (),
) -> EvaluationReport:
    """The report of all models on the test people, one landmark per student and month, with lead times. `champion` names
    the model that the others are rivals of.
    """
    student, step = landmarks(experiment.test)
    cutoff = _cutoff(experiment.test, student, step)
    weekly_student, weekly_step = experiment.test.rows()
    risk = experiment.tasks[0]
    scores = {
        name: predict_rows(predict, experiment, experiment.test, student, step) for name, predict in models.items()
    }
    about_feedback = feedback_notes(
        experiment.feedback,
        experiment.test,
        task=risk,
        student=student,
        step=step,
        score=scores[champion][risk.name] if champion in scores else None,
    )
    return evaluate_models(
        scores,
        EvaluationRows(
            experiment.person[student],
            cutoff,
            experiment.test.outcomes.select(student),
            landmark_months(cutoff),
            groups={name: [values[who] for who in student] for name, values in experiment.audit.items()},
            strategies=simple_strategies(
                experiment.train, experiment.test, tasks=experiment.tasks, student=student, step=step
            ),
        ),
        tasks=experiment.tasks,
        context=ReportContext(
            title=title,
            champion=champion,
            created_at=created_at,
            split=experiment.split.description,
            windows=tuple(
                _window(name, part)
                for name, part in (
                    ("train", experiment.train),
                    ("calibrate", experiment.calibration),
                    ("test", experiment.test),
                )
            ),
            notes=(*notes, *about_feedback),
        ),
        options=EvaluationOptions(
            replicates=replicates,
            seed=seed,
            shortest_follow_up_days=risk.end_day,
            judged_share=_judged_share(experiment.test),
        ),
        weekly=WeeklyScores(
            task=risk.name,
            student=experiment.person[weekly_student],
            cutoff_day=_cutoff(experiment.test, weekly_student, weekly_step),
            outcomes=experiment.test.outcomes.select(weekly_student),
            scores={
                name: predict_rows(predict, experiment, experiment.test, weekly_student, weekly_step)[risk.name]
                for name, predict in models.items()
            },
        ),
    )


def predict_rows(
    predict: Predict, experiment: Experiment, data: TrainingData, student: Int32, step: Int32
) -> Mapping[str, NDArray[np.float64]]:
    """Probability per task for the student-weeks at (student, step), in runs that keep memory flat."""
    parts: list[Mapping[str, NDArray[np.float64]]] = []
    for at in range(0, len(student), _ROWS_PER_RUN):
        rows = slice(at, at + _ROWS_PER_RUN)
        chosen = labelled_rows(data, student=student[rows], step=step[rows], window_weeks=experiment.window_weeks)
        parts.append(predict(chosen.batch))
    return {task.name: np.concatenate([part[task.name] for part in parts]) for task in experiment.tasks}


def default_tasks(horizon_task: Task) -> tuple[Task, ...]:
    """The two questions that are served, the headline first."""
    return (horizon_task, EARLY_TASK)


def _outcomes(history: History, as_of_day: int) -> MergedOutcomes:
    return merged_outcomes(history.exits, history.reported, as_of_day=as_of_day, n_students=history.block.n_students)


def _students_with_event(data: TrainingData, task: Task) -> int:
    steps = labelled_steps(data, tasks=[task])
    return len(np.unique(steps.student[steps.labels[task.name] == 1]))


def _judged_share(data: TrainingData) -> float:
    """Part of the students with a week in the judged time that is judged."""
    judged = data.block.week[data.eligible]
    there = (data.block.week >= judged.min()) & (data.block.week <= judged.max())
    return float(data.eligible.any(axis=1).sum() / there.any(axis=1).sum())


def landmarks(data: TrainingData) -> tuple[Int32, Int32]:
    """Positions (student, step) of the student-weeks that are judged: the first eligible one of each month."""
    student, step = np.nonzero(monthly_landmarks(data.block, data.eligible))
    return student.astype(np.int32), step.astype(np.int32)


def _cutoff(data: TrainingData, student: Int32, step: Int32) -> Int32:
    return (data.block.week[student, step] + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)


def landmark_months(cutoff_day: Int32) -> list[str]:
    """[R] the month of each cutoff, as "2025-03": a list of students is drawn up for each."""
    return np.datetime_as_string(cutoff_day.astype("datetime64[D]").astype("datetime64[M]")).tolist()


def _window(name: str, part: TrainingData) -> DataWindow:
    student, step = part.rows()
    cutoff = _cutoff(part, student, step)
    first, last = (day_from_number(int(day)).isoformat() for day in (cutoff.min(), cutoff.max()))
    return DataWindow(
        name=name, first_cutoff=first, last_cutoff=last, n_students=len(np.unique(student)), n_rows=len(student)
    )
