"""Trains any strategy that can be served, on the same cohorts: the network, LightGBM, their ensemble, or the rule."""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.models.boosters import TaskBoosters
from edupulse_ml.models.cohort_scores import Predict
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.protocol import Progress, TrainingData
from edupulse_ml.models.rivals.abc_rule import AbcRule
from edupulse_ml.models.rivals.boosted import Boosted, BoostedOptions
from edupulse_ml.models.strategies.boosted import BoostedModel
from edupulse_ml.models.strategies.protocol import ServableModel
from edupulse_ml.models.strategies.rules import RulesModel
from edupulse_ml.training.data import require_enough_students
from edupulse_ml.training.ensemble import DEFAULT_SEEDS, SERVED_TREES, EnsembleOptions, train_ensemble
from edupulse_ml.training.gru_model import stopping_task
from edupulse_ml.training.pipeline import (
    ChampionOptions,
    Fitter,
    calibrate,
    fit_here,
    train_champion,
    with_early_task,
)

DEFAULT_STRATEGY: Final = "ensemble"
"""By measurement on the generated district (decision 0009)."""


@dataclass(frozen=True)
class StrategyOptions:
    """`strategy` is one of `STRATEGIES`; `seeds` are those of an ensemble's members; `boosted` is LightGBM's part."""

    strategy: str = DEFAULT_STRATEGY
    seeds: int = DEFAULT_SEEDS
    champion: ChampionOptions = field(default_factory=ChampionOptions)
    boosted: BoostedOptions = SERVED_TREES

    @property
    def networks(self) -> int:
        """Networks that are trained, which alone have epochs."""
        return {"gru": 1, "ensemble": self.seeds}.get(self.strategy, 0)

    def as_parameters(self) -> dict[str, str | int | float | bool]:
        """Flat names and values, for a run's record."""
        boosted = {f"boosted.{name}": value for name, value in asdict(self.boosted).items()}
        own: dict[str, str | int | float | bool] = {"strategy": self.strategy, "seeds": self.seeds}
        return own | boosted | self.champion.training.as_parameters()


@dataclass(frozen=True)
class Cohorts:
    """What is learned from (`train`), and what it is calibrated on; see `pipeline.train_champion`."""

    train: TrainingData
    calibration: TrainingData
    held_out: TrainingData | None = None


@dataclass(frozen=True)
class TrainedStrategy:
    """The model, the metrics of each epoch of each network (`history[member][epoch]`, empty without networks), and
    calibrated members by the name they have in a report.
    """

    model: ServableModel
    history: tuple[tuple[dict[str, float], ...], ...] = ()
    members: Mapping[str, Predict] = field(default_factory=dict)


def train_strategy(
    cohorts: Cohorts, *, tasks: Sequence[Task], options: StrategyOptions, progress: Progress, fitter: Fitter = fit_here
) -> TrainedStrategy:
    """Fit, calibrate and set categories. `fitter` trains each network.

    Raises:
        InvalidInputError: no such strategy, no task, or one that is not made of the network's hazard intervals.
        NotEnoughDataError: too few students or events to train or calibrate honestly.
    """
    trainer = STRATEGIES.get(options.strategy)
    if trainer is None:
        msg = f"There is no strategy {options.strategy!r}: choose one of {', '.join(STRATEGIES)}."
        raise InvalidInputError(msg)
    return trainer(cohorts, tasks, options, progress, fitter)


def _gru(
    cohorts: Cohorts, tasks: Sequence[Task], options: StrategyOptions, progress: Progress, fitter: Fitter
) -> TrainedStrategy:
    trained = train_champion(
        cohorts.train,
        cohorts.calibration,
        tasks=tasks,
        options=options.champion,
        progress=progress,
        fitter=fitter,
        held_out=cohorts.held_out,
    )
    return TrainedStrategy(trained.artifact, (trained.history,))


def _ensemble(
    cohorts: Cohorts, tasks: Sequence[Task], options: StrategyOptions, progress: Progress, fitter: Fitter
) -> TrainedStrategy:
    trained = train_ensemble(
        cohorts.train,
        cohorts.calibration,
        tasks=tasks,
        options=EnsembleOptions(options.champion, options.seeds, options.boosted),
        progress=progress,
        fitter=fitter,
        held_out=cohorts.held_out,
    )
    return TrainedStrategy(trained.model, tuple(fit.history for fit in trained.fits), {"gru": trained.networks_alone})


def _boosted(
    cohorts: Cohorts, tasks: Sequence[Task], options: StrategyOptions, progress: Progress, fitter: Fitter
) -> TrainedStrategy:
    del fitter  # for networks
    training, headline, every_task = options.champion.training, stopping_task(tasks), with_early_task(tasks)
    require_enough_students(cohorts.train, allow_small=training.allow_small)
    norms = InputNorms.fit(cohorts.train)
    fitted = Boosted(norms, options=options.boosted)
    fitted.fit(
        cohorts.train,
        cohorts.calibration,
        tasks=every_task,
        window_weeks=training.window_weeks,
        seed=training.seed,
        progress=progress,
    )
    calibrated = calibrate(
        fitted.predict, cohorts.calibration, cohorts.held_out, tasks=every_task, options=options.champion
    )
    trees = ", ".join(str(booster.num_trees()) for booster in fitted.boosters.values())
    model = BoostedModel(
        norms=norms,
        calibrators=calibrated.calibrators,
        contract=options.champion.contract,
        policy=calibrated.policy,
        task=headline,
        tasks=every_task,
        metadata={"trees": trees, **options.champion.metadata},
        trees=TaskBoosters.of_seeds([fitted.boosters]),
    )
    return TrainedStrategy(model)


def _rules(
    cohorts: Cohorts, tasks: Sequence[Task], options: StrategyOptions, progress: Progress, fitter: Fitter
) -> TrainedStrategy:
    del fitter  # for networks
    training, headline, every_task = options.champion.training, stopping_task(tasks), with_early_task(tasks)
    rule = AbcRule()
    rule.fit(
        cohorts.train,
        cohorts.calibration,
        tasks=every_task,
        window_weeks=training.window_weeks,
        seed=training.seed,
        progress=progress,
    )

    calibrated = calibrate(
        rule.predict, cohorts.calibration, cohorts.held_out, tasks=every_task, options=options.champion
    )
    model = RulesModel(
        norms=InputNorms.fit(cohorts.train),
        calibrators=calibrated.calibrators,
        contract=options.champion.contract,
        policy=calibrated.policy,
        task=headline,
        tasks=every_task,
        metadata=dict(options.champion.metadata),
        rule=rule,
    )
    return TrainedStrategy(model)


_Trainer = Callable[[Cohorts, Sequence[Task], StrategyOptions, Progress, Fitter], TrainedStrategy]

STRATEGIES: Final[Mapping[str, _Trainer]] = types.MappingProxyType(
    {"gru": _gru, "boosted": _boosted, "ensemble": _ensemble, "rules": _rules}
)
"""By the names of `models.strategies.SERVABLE`."""
