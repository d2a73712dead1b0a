"""Fits the ensemble: networks and LightGBM of several seeds, and how much each kind counts.

Legend: R rows, C = 2 members (`strategies.ensemble.MEMBERS`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.boosters import TaskBoosters
from edupulse_ml.models.calibration import EVENTS_FOR_PLATT, Calibrator
from edupulse_ml.models.cohort_scores import CohortScores, Predict, cohort_of_each_task, score_cohort
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.protocol import Progress, TrainingData
from edupulse_ml.models.rivals.boosted import Boosted, BoostedOptions, learning_tables
from edupulse_ml.models.strategies.calibrated import sigmoid
from edupulse_ml.models.strategies.ensemble import MEMBERS, EnsembleModel, Members
from edupulse_ml.models.strategies.stacking import Stack, fit_stack
from edupulse_ml.training.data import prepare_training, require_enough_students
from edupulse_ml.training.gru_model import stopping_task
from edupulse_ml.training.pipeline import ChampionOptions, Fitter, policy_of, with_early_task
from edupulse_ml.training.run import FitResult

DEFAULT_SEEDS: Final = 3
SERVED_TREES: Final = BoostedOptions(monotone=True)
"""The directions of the contract cost nothing that can be measured (decision 0009), and a served model with them never
takes a student for safer for having missed more.
"""
NETWORKS_ALONE: Final = Stack((1.0, 0.0))


@dataclass(frozen=True)
class TrainedEnsemble:
    """The model, the networks' fits in the order of their seeds, and the networks without LightGBM, calibrated, for the
    report.
    """

    model: EnsembleModel
    fits: tuple[FitResult, ...]
    networks_alone: Predict


@dataclass(frozen=True)
class EnsembleOptions:
    """`champion.training.seed` and the `seeds` - 1 numbers after it are the seeds of the networks and of LightGBM."""

    champion: ChampionOptions
    seeds: int = DEFAULT_SEEDS
    boosted: BoostedOptions = SERVED_TREES


def train_ensemble(
    train: TrainingData,
    calibration: TrainingData,
    *,
    tasks: Sequence[Task],
    options: EnsembleOptions,
    progress: Progress,
    fitter: Fitter,
    held_out: TrainingData | None = None,
) -> TrainedEnsemble:
    """Fit every member on `train`; weigh them, calibrate and set categories on `calibration` (and `held_out`, as in
    `pipeline.train_champion`, which see).

    Raises:
        NotEnoughDataError: too few students or events to train or calibrate.
        InvalidInputError: no task, or one that is not made of the network's hazard intervals.
    """
    training, headline, every_task = options.champion.training, stopping_task(tasks), with_early_task(tasks)
    require_enough_students(train, allow_small=training.allow_small)
    norms = InputNorms.fit(train)
    prepared = prepare_training(train, calibration, norms=norms, task=headline, options=training)
    fits = tuple(
        fitter(prepared, replace(training, seed=training.seed + member), headline, progress)
        for member in range(options.seeds)
    )
    trees = _fit_trees(norms, train, calibration, tasks=every_task, options=options, progress=progress)
    members = Members(tuple(fit.network(training) for fit in fits), trees)
    weighed = _weigh(members, norms, calibration, held_out, tasks=every_task, options=options.champion)
    scored = weighed.scored
    calibrator = weighed.calibrators[headline.name]
    combined = replace(scored, scores={headline.name: weighed.stacked(scored, headline)})
    model = EnsembleModel(
        norms=norms,
        calibrators=weighed.calibrators,
        contract=options.champion.contract,
        policy=policy_of(combined, calibrator, headline, options.champion),
        task=headline,
        tasks=every_task,
        metadata={
            "seeds": str(options.seeds),
            "best_epoch": ", ".join(str(fit.best_epoch) for fit in fits),
            **weighed.in_words(),
            **options.champion.metadata,
        },
        members=members,
        stacks=weighed.stacks,
    )
    alone = _NetworksAlone(members, norms, every_task, weighed.networks_alone)
    return TrainedEnsemble(model, fits, alone.predict)


def _fit_trees(
    norms: InputNorms,
    train: TrainingData,
    calibration: TrainingData,
    *,
    tasks: Sequence[Task],
    options: EnsembleOptions,
    progress: Progress,
) -> TaskBoosters:
    """LightGBM of each seed, on the same student-weeks: seeds differ by the columns and rows drawn for each tree."""
    training = options.champion.training
    tables = learning_tables(
        train,
        calibration,
        tasks=tasks,
        window_weeks=training.window_weeks,
        norms=norms,
        max_rows=options.boosted.max_rows,
        seed=training.seed,
    )
    fits = [Boosted(norms, options=options.boosted) for _ in range(options.seeds)]
    for position, boosted in enumerate(fits):
        boosted.fit_tables(tables, tasks=tasks, seed=training.seed + position, progress=progress)
    return TaskBoosters.of_seeds([boosted.boosters for boosted in fits])


@dataclass(frozen=True)
class _Weighed:
    """What the calibration cohort decided. `networks_alone` holds calibrators of the networks without LightGBM."""

    scored: CohortScores
    stacks: Mapping[str, Stack]
    calibrators: Mapping[str, Calibrator]
    networks_alone: Mapping[str, Calibrator]

    def stacked(self, cohort: CohortScores, task: Task) -> NDArray[np.float64]:
        """[R] raw probabilities of the ensemble."""
        return sigmoid(self.stacks[task.name].logit(cohort.scores[task.name]))

    def in_words(self) -> dict[str, str]:
        """The weights of each task, for the artefact's metadata."""
        return {
            f"weights.{task}": ", ".join(
                f"{member} {weight:.3f}" for member, weight in zip(MEMBERS, stack.weights, strict=True)
            )
            for task, stack in self.stacks.items()
        }


def _weigh(
    members: Members,
    norms: InputNorms,
    calibration: TrainingData,
    held_out: TrainingData | None,
    *,
    tasks: Sequence[Task],
    options: ChampionOptions,
) -> _Weighed:
    def predict(batch: SequenceBatch) -> dict[str, NDArray[np.float64]]:
        found = members.scores(batch, norms)
        return {task.name: found.members(task) for task in tasks}

    scored = score_cohort(predict, calibration, tasks=tasks, sample=options.sample)
    chosen = cohort_of_each_task(predict, scored, held_out, tasks=tasks, sample=options.sample)
    stacks = {task.name: _stack(chosen[task.name], task) for task in tasks}
    allow_small = options.training.allow_small

    def calibrator(task: Task, stack: Stack) -> Calibrator:
        cohort = chosen[task.name]
        probability = sigmoid(stack.logit(cohort.scores[task.name]))
        return replace(cohort, scores={task.name: probability}).calibrator(task, allow_small=allow_small)

    return _Weighed(
        scored,
        stacks,
        {task.name: calibrator(task, stacks[task.name]) for task in tasks},
        {task.name: calibrator(task, NETWORKS_ALONE) for task in tasks},
    )


def _stack(cohort: CohortScores, task: Task) -> Stack:
    """The task's weights; equal ones where the cohort has too few events to tell."""
    rows = cohort.steps.known(task.name)
    label = cohort.steps.labels[task.name][rows]
    if cohort.students_with_event(task) < EVENTS_FOR_PLATT or not (label == 0).any():
        return Stack.equal(len(MEMBERS))
    return fit_stack(cohort.scores[task.name][rows], label, student=cohort.steps.student[rows])


@dataclass(frozen=True)
class _NetworksAlone:
    members: Members
    norms: InputNorms
    tasks: tuple[Task, ...]
    calibrators: Mapping[str, Calibrator]

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Calibrated probability per task of the mean of the networks."""
        found = Members(self.members.networks, TaskBoosters({})).scores(batch, self.norms)
        return {task.name: self.calibrators[task.name].apply(sigmoid(found.networks(task))) for task in self.tasks}
