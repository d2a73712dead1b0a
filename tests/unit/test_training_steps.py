"""What a training run says of its steps while it fits."""

from typing import Any, cast

import pytest
from rich.console import Console

from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions
from edupulse_ml.training.strategies import STRATEGIES, StrategyOptions
from jobs import train

TRAINING = TrainingOptions(epochs=7)


class Told:
    is_stopped = False

    def __init__(self) -> None:
        self.steps: list[tuple[str, int | None]] = []

    def step(self, name: str, *, of_epochs: int | None = None) -> None:
        self.steps.append((name, of_epochs))

    def progress(self, metrics: object) -> None:
        pass


def test_every_strategy_is_told_of_below() -> None:
    assert set(STRATEGIES) == {"gru", "ensemble", "boosted", "rules"}


@pytest.mark.parametrize(("strategy", "epochs"), [("gru", 7), ("ensemble", 14), ("boosted", None), ("rules", None)])
def test_only_what_has_networks_has_epochs(monkeypatch: pytest.MonkeyPatch, strategy: str, epochs: int | None) -> None:
    def fit_all(_: object, *, options: StrategyOptions, step: Any, **__: object) -> None:
        step(f"training ({options.strategy})")
        step("training the rivals")

    monkeypatch.setattr(train, "fit_all", fit_all)
    told = Told()
    request = train.TrainingRequest(TRAINING, strategy=strategy, seeds=2, record=told)
    options = StrategyOptions(strategy, 2, ChampionOptions(training=TRAINING))
    train._fit(cast("Any", None), options, request, Console(quiet=True))
    assert told.steps == [(f"training ({strategy})", epochs), ("training the rivals", None)]
