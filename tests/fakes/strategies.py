"""One small trained model of every strategy, on simulated students."""

from functools import cache

from edupulse_ml.core.outcomes import EARLY_TASK, risk_task
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.gru import RiskNetConfig
from edupulse_ml.models.protocol import TrainingData, labelled_rows
from edupulse_ml.models.rivals.boosted import BoostedOptions
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions
from edupulse_ml.training.strategies import Cohorts, StrategyOptions, TrainedStrategy, train_strategy
from tests.fakes.training_data import make_training_data

TASKS = (risk_task(), EARLY_TASK)
WINDOW = 8


def quiet(metrics: object) -> None:
    del metrics


@cache
def cohorts() -> Cohorts:
    """Two years of 300 students."""
    train, later = (make_training_data(n_students=300, n_weeks=14, seed=seed, hazard=0.002) for seed in (1, 2))
    return Cohorts(train, later)


def options(strategy: str, *, seeds: int = 2, seed: int = 0) -> StrategyOptions:
    """Small enough for a test."""
    training = TrainingOptions(
        window_weeks=WINDOW,
        allow_small=True,
        epochs=8,
        learning_rate=1e-2,
        validation_rows=300,
        batch_size=64,
        seed=seed,
        network=RiskNetConfig(hidden=8, attention=8, fusion=8),
    )
    champion = ChampionOptions(training=training, policy_version="7", metadata={"district": "demo"})
    return StrategyOptions(strategy, seeds, champion, BoostedOptions(rounds=25, threads=1))


@cache
def trained(strategy: str) -> TrainedStrategy:
    """A trained model; the same one at each call."""
    return train_strategy(cohorts(), tasks=TASKS, options=options(strategy), progress=quiet)


def windows(data: TrainingData, *, step: int = 11) -> SequenceBatch:
    """The window of every student who is still there at `step`."""
    student, at = data.rows()
    keep = at == step
    return labelled_rows(data, student=student[keep], step=at[keep], window_weeks=WINDOW).batch
