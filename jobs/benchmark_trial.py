"""One set of outcomes of a benchmark: what is learned, and on which rows every model is judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import Outcomes, Task
from edupulse_ml.core.records import ExitEvents
from edupulse_ml.core.sequences import FeatureBlock, SequenceBatch
from edupulse_ml.core.weeks import day_from_number
from edupulse_ml.evaluation.evaluate import EvaluationOptions, EvaluationRows, WeeklyScores, evaluate_models
from edupulse_ml.evaluation.outcomes import eligible_steps
from edupulse_ml.evaluation.report import DataWindow, EvaluationReport, ReportContext
from edupulse_ml.evaluation.splits import Split
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, Progress, TrainingData, labelled_rows
from edupulse_ml.models.rivals.boosted import BoostedOptions
from edupulse_ml.training.ensemble import SERVED_TREES
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions, RivalOptions, fit_rivals
from edupulse_ml.training.strategies import Cohorts, StrategyOptions, train_strategy
from jobs.tuning import DEFAULTS

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
Probabilities = Mapping[str, NDArray[np.float64]]
Predict = Callable[[SequenceBatch], Probabilities]

LANDMARK_DAYS: Final = (28, 56, 84, 112)
CHAMPION: Final = "ensemble"
OTHERS: Final = ("boosted",)
"""Strategies beside the champion and its networks; `rules` is the ABC rule of the rivals."""
LEAD_TIME_TASK: Final = "any"
_ROWS_PER_RUN: Final = 8192

Step = Callable[[str], None]
"""Told the name of each piece of work as it begins."""


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the networks and of LightGBM: those of every release, or the best of so many `trials` of each kind."""

    network: TrainingOptions = field(default_factory=TrainingOptions)
    boosted: BoostedOptions = field(default_factory=BoostedOptions)
    trials: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkOptions:
    """`seeds` networks make up the ensemble with LightGBM; `replicates` resamplings of people give the intervals;
    `trials` of a search come first, of the networks and of LightGBM each (0: none); with `defaults`, the ensemble with the
    settings that the search started from is judged too.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    seeds: int = 1
    epochs: int = 50
    window_weeks: int = 20
    calibration_share: float = 0.2
    replicates: int = 1000
    trials: int = 0
    defaults: bool = False
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


@dataclass(frozen=True)
class BenchmarkTrial:
    """One set of outcomes, in the words of `name`."""

    name: str

    data: BenchmarkData
    split: Split
    outcomes: Outcomes
    tasks: tuple[Task, ...]
    options: BenchmarkOptions
    seed: int

    def cohorts(self) -> Cohorts:
        """What is learned from and calibrated on; the test people are not in it."""
        return Cohorts(self._part(self.split.train), self._part(self.split.calibrate))

    def report(self, settings: ModelSettings, *, created_at: str, step: Step, progress: Progress) -> EvaluationReport:
        """Every model fitted with `settings` (the rival LightGBM too) and judged on the test presentation; after a search
        also the ensemble with the settings that it started from, as `defaults`, where the options want it.

        Raises:
            NotEnoughDataError: too few students or events to train.
        """
        models = self._fit(settings, step=step, progress=progress)
        step("testing")
        return self._evaluate(models, settings, created_at=created_at)

    def start(self, strategy: str, settings: ModelSettings, *, monotone: bool = True) -> StrategyOptions:
        """A strategy with `settings`, for this benchmark's windows, epochs and seeds."""
        training = replace(
            settings.network,
            window_weeks=self.options.window_weeks,
            epochs=self.options.epochs,
            seed=self.seed,
            allow_small=self.options.allow_small,
        )
        boosted = replace(settings.boosted, monotone=monotone and SERVED_TREES.monotone)
        return StrategyOptions(strategy, self.options.seeds, ChampionOptions(training=training), boosted)

    def _fit(self, settings: ModelSettings, *, step: Step, progress: Progress) -> dict[str, Predict]:
        cohorts = self.cohorts()
        step("rules, logistic regression, LightGBM")
        rivals = fit_rivals(
            cohorts.train,
            cohorts.calibration,
            tasks=self.tasks,
            options=RivalOptions(
                self.options.window_weeks, self.seed, allow_small=self.options.allow_small, boosted=settings.boosted
            ),
            progress=progress,
        )
        found: dict[str, Predict] = {}
        for strategy in (CHAMPION, *OTHERS):
            step(strategy)
            options = self.start(strategy, settings)
            trained = train_strategy(cohorts, tasks=self.tasks, options=options, progress=progress)
            found |= {strategy: trained.model.predict, **trained.members}
        if settings.trials and self.options.defaults:
            step(f"{CHAMPION} with the settings that the search started from")
            options = self.start(CHAMPION, ModelSettings())
            trained = train_strategy(cohorts, tasks=self.tasks, options=options, progress=progress)
            found[DEFAULTS] = trained.model.predict
        return found | {rival.name: rival.predict for rival in rivals}

    def _evaluate(self, models: Mapping[str, Predict], settings: ModelSettings, *, created_at: str) -> EvaluationReport:
        student, at_step, landmark = self._landmark_rows()
        _, person = np.unique(np.asarray(self.data.person_ids), return_inverse=True)
        cutoff = self._cutoff(student, at_step)
        return evaluate_models(
            {name: self._predict(predict, student, at_step) for name, predict in models.items()},
            EvaluationRows(person[student].astype(np.int32), cutoff, self.outcomes.select(student), landmark),
            tasks=self.tasks,
            context=self._context(settings, created_at),
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

    def _predict(self, predict: Predict, student: Int32, step: Int32) -> Probabilities:
        parts: list[Probabilities] = []
        data = TrainingData(self.data.block, self.outcomes, np.empty((0, 0), dtype=np.bool_))
        for at in range(0, len(student), _ROWS_PER_RUN):
            rows = slice(at, at + _ROWS_PER_RUN)
            chosen = labelled_rows(data, student=student[rows], step=step[rows], window_weeks=self.options.window_weeks)
            parts.append(predict(chosen.batch))
        return {task.name: np.concatenate([part[task.name] for part in parts]) for task in self.tasks}

    def _weekly(self, models: Mapping[str, Predict]) -> WeeklyScores | None:
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

    def _context(self, settings: ModelSettings, created_at: str) -> ReportContext:
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
                _about(settings),
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


def _about(settings: ModelSettings) -> str:
    if not settings.trials:
        return "No settings were searched: those of `edupulse train`, and those of the rivals in every report."
    counts = " and ".join(str(n) for n in settings.trials.values())
    return (
        f"Networks and LightGBM have the best settings of {counts} trials, compared on the calibration "
        "people by the AUC of the questions about withdrawal; the rival LightGBM has them too. `defaults`, where it stands, "
        "is the ensemble with the settings that the search started from."
    )
