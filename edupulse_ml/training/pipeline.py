"""From cohorts to a model that can be served: norms, network, calibration, categories; and its rivals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FeatureContract, current_contract
from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.outcomes import EARLY_TASK, Task, interval_probability
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.calibrated import CalibratedModel
from edupulse_ml.models.calibration import Calibrator
from edupulse_ml.models.cohort_scores import CohortSample, CohortScores, Predict, fit_calibrators, score_cohort
from edupulse_ml.models.engines import TorchEngine
from edupulse_ml.models.gru import RiskNet
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.policy import derive_policy
from edupulse_ml.models.protocol import Progress, StorableRiskModel, TrainingData
from edupulse_ml.models.rivals.abc_rule import AbcRule
from edupulse_ml.models.rivals.base_rate import BaseRate
from edupulse_ml.models.rivals.boosted import Boosted, BoostedOptions
from edupulse_ml.models.rivals.chronic_absence import ChronicAbsence
from edupulse_ml.models.rivals.logistic import Logistic
from edupulse_ml.models.rivals.mlp_last import MlpLast
from edupulse_ml.training.data import PreparedTraining, prepare_training, require_enough_students
from edupulse_ml.training.gru_model import stopping_task
from edupulse_ml.training.local import fit_local
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.run import FitResult

Fitter = Callable[[PreparedTraining, TrainingOptions, Task, Progress], FitResult]
"""How the network is trained; `fit_here`, or a function that calls `distributed.fit_distributed`."""


@dataclass(frozen=True)
class ChampionOptions:
    """`training` for the network; `objective_discipline_only` is what the features were computed with;
    `policy_version` is stored with every prediction; `metadata` goes into the artefact as it is.
    """

    training: TrainingOptions = field(default_factory=TrainingOptions)
    objective_discipline_only: bool = False
    policy_version: str = "1"
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def contract(self) -> FeatureContract:
        """What the model is fitted for."""
        return current_contract(
            window_weeks=self.training.window_weeks, objective_discipline_only=self.objective_discipline_only
        )

    @property
    def sample(self) -> CohortSample:
        """The student-weeks of a cohort that calibration reads."""
        training = self.training
        return CohortSample(window_weeks=training.window_weeks, max_rows=training.calibration_rows, seed=training.seed)


@dataclass(frozen=True)
class RivalOptions:
    """How the rivals are fitted. With `allow_small`, a task that has too few events to calibrate on is left uncalibrated;
    `boosted` are LightGBM's settings.
    """

    window_weeks: int
    seed: int
    allow_small: bool = False
    boosted: BoostedOptions = field(default_factory=BoostedOptions)


@dataclass(frozen=True)
class TrainedModel:
    """The artefact, the metrics of each epoch, and the number of the best one, from 1."""

    artifact: ModelArtifact
    history: tuple[dict[str, float], ...]
    best_epoch: int


def fit_here(prepared: PreparedTraining, options: TrainingOptions, task: Task, progress: Progress) -> FitResult:
    """Train in this process."""
    return fit_local(prepared, options, task=task, progress=progress)


def train_champion(
    train: TrainingData,
    calibration: TrainingData,
    *,
    tasks: Sequence[Task],
    options: ChampionOptions,
    progress: Progress,
    fitter: Fitter = fit_here,
    held_out: TrainingData | None = None,
) -> TrainedModel:
    """Fit norms and network on `train`; stop early, calibrate and set categories on `calibration`, a later cohort.

    `tasks` are calibrated beside the early-warning task, which always is; `risk_score`, else the first, is the
    artefact's headline. `progress` is called after each epoch. `held_out` holds earlier weeks of people whom training
    never saw: a question that `calibration` cannot answer yet (its year is shorter than the question) is calibrated on
    those.

    Raises:
        NotEnoughDataError: too few students with 20 weeks, or too few events, to train or calibrate (see
            `TrainingOptions.allow_small`).
        InvalidInputError: no task, or one that is not made of the network's hazard intervals.
    """
    training = options.training
    headline = stopping_task(tasks)
    require_enough_students(train, allow_small=training.allow_small)
    norms = InputNorms.fit(train)
    prepared = prepare_training(train, calibration, norms=norms, task=headline, options=training)
    result = fitter(prepared, training, headline, progress)
    network = result.network(training)
    every_task = with_early_task(tasks)
    calibrated = calibrate(
        _uncalibrated(network, norms, every_task), calibration, held_out, tasks=every_task, options=options
    )
    artifact = ModelArtifact(
        network=network,
        norms=norms,
        calibrators=calibrated.calibrators,
        policy=calibrated.policy,
        contract=options.contract,
        task=headline,
        tasks=every_task,
        metadata={"best_epoch": str(result.best_epoch), **options.metadata},
    )
    return TrainedModel(artifact, result.history, result.best_epoch)


@dataclass(frozen=True)
class Calibrated:
    """What the calibration cohort decides: a calibrator per task, and the categories of the first."""

    calibrators: Mapping[str, Calibrator]
    policy: CategoryPolicy


def calibrate(
    predict: Predict,
    calibration: TrainingData,
    held_out: TrainingData | None,
    *,
    tasks: Sequence[Task],
    options: ChampionOptions,
) -> Calibrated:
    """Calibrate raw probabilities, and set categories for the headline task.

    Raises:
        NotEnoughDataError: too few events, see `train_champion`.
    """
    sample, headline = options.sample, stopping_task(tasks)
    scored = score_cohort(predict, calibration, tasks=tasks, sample=sample)
    allow_small = options.training.allow_small
    calibrators = fit_calibrators(predict, scored, held_out, tasks=tasks, sample=sample, allow_small=allow_small)
    return Calibrated(calibrators, policy_of(scored, calibrators[headline.name], headline, options))


def fit_rivals(
    train: TrainingData,
    calibration: TrainingData,
    *,
    tasks: Sequence[Task],
    options: RivalOptions,
    progress: Progress,
    held_out: TrainingData | None = None,
) -> tuple[CalibratedModel, ...]:
    """The models of every report, fitted with the same norms: base rate, chronic absence, ABC, logistic, perceptron
    on the last week, LightGBM.

    `calibration` stops the last two early; all are calibrated on it, task by task, as the champion is, and on
    `held_out` where the champion would be.

    Raises:
        NotEnoughDataError: a task has hardly any events to learn from, or too few to calibrate on.
    """
    norms = InputNorms.fit(train)
    rivals: tuple[StorableRiskModel, ...] = (
        BaseRate(),
        ChronicAbsence(),
        AbcRule(),
        Logistic(norms),
        MlpLast(norms),
        Boosted(norms, options=options.boosted),
    )
    calibrated = tuple(CalibratedModel(rival, held_out=held_out, allow_small=options.allow_small) for rival in rivals)
    for rival in calibrated:
        rival.fit(
            train,
            calibration,
            tasks=tasks,
            window_weeks=options.window_weeks,
            seed=options.seed,
            progress=progress,
        )
    return calibrated


def with_early_task(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks and the early-warning task, which every model that is served answers."""
    return (*tasks,) if any(task.name == EARLY_TASK.name for task in tasks) else (*tasks, EARLY_TASK)


def _uncalibrated(network: RiskNet, norms: InputNorms, tasks: Sequence[Task]) -> Predict:
    engine = TorchEngine(network)

    def predict(batch: SequenceBatch) -> dict[str, NDArray[np.float64]]:
        hazards = engine.run(norms.prepare(batch)).hazards
        return {task.name: interval_probability(hazards, task) for task in tasks}

    return predict


def policy_of(scored: CohortScores, calibrator: Calibrator, headline: Task, options: ChampionOptions) -> CategoryPolicy:
    """Categories for the calibrated scores of a cohort.

    Raises:
        NotEnoughDataError: the cohort has no event of the headline task, or nothing else.
    """
    base_rate = scored.base_rate(headline)
    if not 0 < base_rate < 1:
        msg = f"The calibration cohort's rate of {headline.name} is {base_rate:.3f}: categories need some students with the event and some without; take a larger cohort or a longer follow-up."
        raise NotEnoughDataError(msg)
    return derive_policy(
        calibrator.apply(scored.scores[headline.name]),
        base_rate=base_rate,
        capacity_share=options.training.capacity_share,
        version=options.policy_version,
    )
