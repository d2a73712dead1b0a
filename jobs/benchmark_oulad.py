"""The OULAD benchmark: train on earlier presentations, test on a later one whose people are removed from training.

Questions are asked at the last week closed by a day of the module, of those still registered (science.md 3).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.connectors.oulad import load_oulad
from edupulse_ml.core.outcomes import Outcomes, Task
from edupulse_ml.core.records import ExitEvents, RecordSet
from edupulse_ml.core.sequences import FeatureBlock, SequenceBatch, concatenate_blocks
from edupulse_ml.core.weeks import day_from_number, week_of_days
from edupulse_ml.evaluation.evaluate import EvaluationOptions, EvaluationRows, WeeklyScores, evaluate_models
from edupulse_ml.evaluation.outcomes import eligible_steps, outcomes_from_exits
from edupulse_ml.evaluation.report import DataWindow, EvaluationReport, ReportContext
from edupulse_ml.evaluation.splits import Split, split_by_cohort
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, Progress, TrainingData, labelled_rows
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions, fit_rivals
from edupulse_ml.training.strategies import Cohorts, StrategyOptions, train_strategy
from features.compute import compute_features

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
Probabilities = Mapping[str, NDArray[np.float64]]

LANDMARK_DAYS: Final = (28, 56, 84, 112)
WITHDRAWAL_TASKS: Final = (Task("any", 0, 365), Task("lead60", 60, 365), Task("within60", 0, 60))
"""`any` stands first: it is the task by which training stops."""
FAILURE_TASKS: Final = (Task("withdrawn_or_fail", 0, 365),)
CHAMPION: Final = "ensemble"
OTHERS: Final = ("boosted",)
"""Strategies beside the champion and its networks; `rules` is the ABC rule of the rivals."""
LEAD_TIME_TASK: Final = "any"

_STUDENTS_PER_CHUNK: Final = 2500
_ROWS_PER_RUN: Final = 8192
_SETTLED_DAYS: Final = 400
"""Days after the last presentation's end from which every outcome within a year of any cutoff is known."""

Step = Callable[[str], None]
"""Told the name of each piece of work as it begins."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """`seeds` networks make up the ensemble with LightGBM; `replicates` resamplings of people give the intervals."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    seeds: int = 1
    epochs: int = 50
    window_weeks: int = 20
    calibration_share: float = 0.2
    replicates: int = 1000
    allow_small: bool = False


@dataclass(frozen=True)
class BenchmarkData:
    """All enrolments of the presentations: N students of the block, each in one presentation. `day_zero` [N] is the
    first day of each student's module.
    """

    block: FeatureBlock
    person_ids: tuple[str, ...]
    presentation: tuple[str, ...]
    day_zero: Int32
    exits: ExitEvents
    settled_day: int


def load_benchmark(path: Path, presentations: Sequence[str]) -> BenchmarkData:
    """Read the presentations and compute every student-week.

    Raises:
        InvalidInputError: files or presentations are missing.
    """
    found = load_oulad(path, presentations)
    calendars = found.records.calendars
    school = np.zeros(len(found.student_ids), dtype=np.int32)
    school[found.records.enrollments.student] = found.records.enrollments.school
    last_day = calendars.first_day + calendars.is_instructional.shape[1] - 1
    through_week = int(week_of_days(np.asarray([last_day], dtype=np.int32))[0])
    of_school = [next(p for p in presentations if school_id.endswith(p)) for school_id in found.school_ids]
    day_zero = calendars.first_day + np.argmax(calendars.is_instructional, axis=1)
    return BenchmarkData(
        block=_block(found.records, through_week=through_week),
        person_ids=found.person_ids,
        presentation=tuple(of_school[position] for position in school),
        day_zero=day_zero[school].astype(np.int32),
        exits=found.exits,
        settled_day=last_day + _SETTLED_DAYS,
    )


def _block(records: RecordSet, *, through_week: int) -> FeatureBlock:
    """Features in chunks of students, so that memory holds one chunk's intermediate sums."""
    starts = range(0, records.n_students, _STUDENTS_PER_CHUNK)
    chunks = [np.arange(at, min(at + _STUDENTS_PER_CHUNK, records.n_students), dtype=np.int32) for at in starts]
    return concatenate_blocks([compute_features(records.select(chunk), through_week=through_week) for chunk in chunks])


def run_benchmark(
    data: BenchmarkData, *, options: BenchmarkOptions, created_at: str, step: Step, progress: Progress, seed: int = 0
) -> EvaluationReport:
    """Fit every model twice (withdrawal; withdrawal or failure) and judge it on the test presentation.

    Raises:
        InvalidInputError: a presentation is not in the data, or is named for training and test.
        NotEnoughDataError: too few students or events to train.
    """
    split = split_by_cohort(
        data.block,
        data.presentation,
        data.person_ids,
        train=options.train,
        test=options.test,
        calibration_share=options.calibration_share,
        seed=seed,
    )
    reports: list[EvaluationReport] = []
    for tasks, codes in ((WITHDRAWAL_TASKS, ("dropout",)), (FAILURE_TASKS, ("dropout", "failed"))):
        outcomes = outcomes_from_exits(
            data.exits,
            as_of_day=data.settled_day,
            n_students=data.block.n_students,
            dropout_codes=codes,
            completers_never_leave=True,
        )
        trial = _Trial(data, split, outcomes, tasks, options, seed)
        models = trial.fit(step=step, progress=progress)
        step(f"testing ({', '.join(task.name for task in tasks)})")
        reports.append(trial.evaluate(models, created_at=created_at))
    return reports[0].joined(reports[1])


@dataclass(frozen=True)
class _Trial:
    """One set of outcomes: what is learned, and on which rows it is judged."""

    data: BenchmarkData
    split: Split
    outcomes: Outcomes
    tasks: tuple[Task, ...]
    options: BenchmarkOptions
    seed: int

    def fit(self, *, step: Step, progress: Progress) -> dict[str, Callable[[SequenceBatch], Probabilities]]:
        train, calibration = self._part(self.split.train), self._part(self.split.calibrate)
        names = ", ".join(task.name for task in self.tasks)
        step(f"rules, logistic regression, LightGBM ({names})")
        rivals = fit_rivals(
            train,
            calibration,
            tasks=self.tasks,
            window_weeks=self.options.window_weeks,
            seed=self.seed,
            progress=progress,
            allow_small=self.options.allow_small,
        )
        training = TrainingOptions(
            window_weeks=self.options.window_weeks,
            epochs=self.options.epochs,
            seed=self.seed,
            allow_small=self.options.allow_small,
        )
        found: dict[str, Callable[[SequenceBatch], Probabilities]] = {}
        for strategy in (CHAMPION, *OTHERS):
            step(f"{strategy} ({names})")
            trained = train_strategy(
                Cohorts(train, calibration),
                tasks=self.tasks,
                options=StrategyOptions(strategy, self.options.seeds, ChampionOptions(training=training)),
                progress=progress,
            )
            found |= {strategy: trained.model.predict, **trained.members}
        return found | {rival.name: rival.predict for rival in rivals}

    def evaluate(
        self, models: Mapping[str, Callable[[SequenceBatch], Probabilities]], *, created_at: str
    ) -> EvaluationReport:
        student, at_step, landmark = self._landmark_rows()
        _, person = np.unique(np.asarray(self.data.person_ids), return_inverse=True)
        cutoff = self._cutoff(student, at_step)
        return evaluate_models(
            {name: self._predict(predict, student, at_step) for name, predict in models.items()},
            EvaluationRows(person[student].astype(np.int32), cutoff, self.outcomes.select(student), landmark),
            tasks=self.tasks,
            context=self._context(created_at),
            options=EvaluationOptions(replicates=self.options.replicates, seed=self.seed),
            weekly=self._weekly(models),
        )

    def _part(self, within: Bool) -> TrainingData:
        return TrainingData(
            self.data.block, self.outcomes, eligible_steps(self.data.block, self.outcomes, within=within)
        )

    def _landmark_rows(self) -> tuple[Int32, Int32, list[str]]:
        eligible = eligible_steps(self.data.block, self.outcomes, within=self.split.test)
        students, steps, names = [], [], []
        for day in LANDMARK_DAYS:
            week = self.data.day_zero + day - CUTOFF_DAYS_AFTER_MONDAY - 1
            student, step = np.nonzero(eligible & (self.data.block.week == week[:, None]))
            students.append(student)
            steps.append(step)
            names += [f"day {day}"] * len(student)
        return np.concatenate(students).astype(np.int32), np.concatenate(steps).astype(np.int32), names

    def _cutoff(self, student: Int32, step: Int32) -> Int32:
        return (self.data.block.week[student, step] + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)

    def _predict(self, predict: Callable[[SequenceBatch], Probabilities], student: Int32, step: Int32) -> Probabilities:
        parts: list[Probabilities] = []
        data = TrainingData(self.data.block, self.outcomes, np.empty((0, 0), dtype=np.bool_))
        for at in range(0, len(student), _ROWS_PER_RUN):
            rows = slice(at, at + _ROWS_PER_RUN)
            chosen = labelled_rows(data, student=student[rows], step=step[rows], window_weeks=self.options.window_weeks)
            parts.append(predict(chosen.batch))
        return {task.name: np.concatenate([part[task.name] for part in parts]) for task in self.tasks}

    def _weekly(self, models: Mapping[str, Callable[[SequenceBatch], Probabilities]]) -> WeeklyScores | None:
        if LEAD_TIME_TASK not in {task.name for task in self.tasks}:
            return None
        student, step = self._part(self.split.test).rows()
        return WeeklyScores(
            task=LEAD_TIME_TASK,
            student=student,
            cutoff_day=self._cutoff(student, step),
            outcomes=self.outcomes.select(student),
            scores={name: self._predict(predict, student, step)[LEAD_TIME_TASK] for name, predict in models.items()},
        )

    def _context(self, created_at: str) -> ReportContext:
        named = (("train", self.split.train), ("calibrate", self.split.calibrate), ("test", self.split.test))
        return ReportContext(
            title=f"OULAD: {' + '.join(self.options.train)} to {' + '.join(self.options.test)}",
            champion=CHAMPION,
            created_at=created_at,
            split=self.split.description,
            windows=tuple(self._window(name, self._part(within)) for name, within in named),
            notes=(
                "Asked at the last week closed by days 28, 56, 84 and 112 of the module, of those still registered.",
                "Who finished the module, passed or failed, never withdraws.",
                "withdrawn_or_fail counts a failure as an event at the module's end, with models of its own.",
                f"The network is the mean of {self.options.seeds} seed(s); the ensemble adds LightGBM.",
            ),
        )

    def _window(self, name: str, part: TrainingData) -> DataWindow:
        student, step = part.rows()
        cutoff = self._cutoff(student, step)
        return DataWindow(
            name=name,
            first_cutoff=day_from_number(int(cutoff.min())).isoformat(),
            last_cutoff=day_from_number(int(cutoff.max())).isoformat(),
            n_students=len(np.unique(student)),
            n_rows=len(student),
        )


def shown_order(report: EvaluationReport) -> EvaluationReport:
    """The report with its tasks in the order of the references: `lead60`, `within60`, `any`, `withdrawn_or_fail`."""
    order = ("lead60", "within60", "any", "withdrawn_or_fail")
    return replace(report, tasks=tuple(sorted(report.tasks, key=lambda task: order.index(task.name))))
