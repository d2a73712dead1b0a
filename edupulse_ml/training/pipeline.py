"""From cohorts to a model that can be served: norms, network, calibration, categories; and its rivals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.outcomes import EARLY_TASK, LABEL_UNKNOWN, Task, interval_probability
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.calibration import EVENTS_FOR_PLATT, Calibrator, fit_calibrator
from edupulse_ml.models.engines import TorchEngine
from edupulse_ml.models.gru import RiskNet
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.labels import LabelledSteps, labelled_steps
from edupulse_ml.models.policy import derive_policy
from edupulse_ml.models.protocol import Progress, StorableRiskModel, TrainingData, labelled_rows
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

ROWS_PER_RUN = 2048

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


@dataclass(frozen=True)
class TrainedModel:
    """The artefact, the metrics of each epoch, and the calibration cohort's base rate per task."""

    artifact: ModelArtifact
    history: tuple[dict[str, float], ...]
    best_epoch: int
    base_rates: Mapping[str, float]


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
    every_task = _with_early_task(tasks)
    scored = _score_cohort(network, norms, calibration, tasks=every_task, options=training)
    earlier = _score_held_out(network, norms, held_out, scored, tasks=every_task, options=training)
    calibrators = {
        task.name: earlier.get(task.name, scored).calibrator(task, allow_small=training.allow_small)
        for task in every_task
    }
    base_rates = {task.name: scored.base_rate(task) for task in every_task}
    artifact = ModelArtifact(
        network=network,
        norms=norms,
        calibrators=calibrators,
        policy=_policy(scored, calibrators[headline.name], headline, options),
        contract=current_contract(
            window_weeks=training.window_weeks, objective_discipline_only=options.objective_discipline_only
        ),
        task=headline,
        tasks=every_task,
        metadata={"best_epoch": str(result.best_epoch), **options.metadata},
    )
    return TrainedModel(artifact, result.history, result.best_epoch, base_rates)


def fit_rivals(
    train: TrainingData,
    calibration: TrainingData,
    *,
    tasks: Sequence[Task],
    window_weeks: int,
    seed: int,
    progress: Progress,
    boosted: BoostedOptions | None = None,
) -> tuple[StorableRiskModel, ...]:
    """The models of every report, fitted with the same norms: base rate, chronic absence, ABC, logistic, perceptron
    on the last week, LightGBM. `calibration` only stops the last two early.

    Raises:
        NotEnoughDataError: a task has hardly any events.
    """
    norms = InputNorms.fit(train)
    rivals: tuple[StorableRiskModel, ...] = (
        BaseRate(),
        ChronicAbsence(),
        AbcRule(),
        Logistic(norms),
        MlpLast(norms),
        Boosted(norms, options=boosted),
    )
    for rival in rivals:
        rival.fit(train, calibration, tasks=tasks, window_weeks=window_weeks, seed=seed, progress=progress)
    return rivals


@dataclass(frozen=True)
class _ScoredCohort:
    """Raw scores of the calibration cohort's sampled student-weeks."""

    steps: LabelledSteps
    scores: Mapping[str, np.ndarray]

    def calibrator(self, task: Task, *, allow_small: bool) -> Calibrator:
        rows = self.steps.known(task.name)
        return fit_calibrator(
            self.scores[task.name][rows],
            self.steps.labels[task.name][rows],
            student=self.steps.student[rows],
            allow_small=allow_small,
        )

    def students_with_event(self, task: Task) -> int:
        """Students with at least one student-week labelled 1."""
        return len(np.unique(self.steps.student[self.steps.labels[task.name] == 1]))

    def base_rate(self, task: Task) -> float:
        """Share of events among labelled student-weeks, NaN without any."""
        labels = self.steps.labels[task.name]
        known = labels != LABEL_UNKNOWN
        return float(labels[known].mean()) if known.any() else float("nan")


def _score_held_out(
    network: RiskNet,
    norms: InputNorms,
    held_out: TrainingData | None,
    scored: _ScoredCohort,
    *,
    tasks: Sequence[Task],
    options: TrainingOptions,
) -> dict[str, _ScoredCohort]:
    """The held-out people's earlier weeks for the tasks that have too few events in the calibration cohort."""
    lacking = [task for task in tasks if scored.students_with_event(task) < EVENTS_FOR_PLATT]
    if held_out is None or not lacking or not held_out.eligible.any():
        return {}
    earlier = _score_cohort(network, norms, held_out, tasks=lacking, options=options)
    return {
        task.name: earlier for task in lacking if earlier.students_with_event(task) > scored.students_with_event(task)
    }


def _with_early_task(tasks: Sequence[Task]) -> tuple[Task, ...]:
    return (*tasks,) if any(task.name == EARLY_TASK.name for task in tasks) else (*tasks, EARLY_TASK)


def _score_cohort(
    network: RiskNet, norms: InputNorms, data: TrainingData, *, tasks: Sequence[Task], options: TrainingOptions
) -> _ScoredCohort:
    steps = labelled_steps(data, tasks=tasks, max_rows=options.calibration_rows, seed=options.seed)
    engine = TorchEngine(network)
    hazards: list[np.ndarray] = []
    for at in range(0, len(steps.student), ROWS_PER_RUN):
        part = slice(at, at + ROWS_PER_RUN)
        rows = labelled_rows(
            data, student=steps.student[part], step=steps.step[part], window_weeks=options.window_weeks
        )
        hazards.append(engine.run(norms.prepare(rows.batch)).hazards)
    every = np.concatenate(hazards)
    return _ScoredCohort(steps, {task.name: interval_probability(every, task) for task in tasks})


def _policy(scored: _ScoredCohort, calibrator: Calibrator, headline: Task, options: ChampionOptions) -> CategoryPolicy:
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
