"""What a search may change, in which ranges; and training options from what it chose."""

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.training.strategies import StrategyOptions

Value = int | float
Parameters = Mapping[str, Value]
"""Chosen values by the name of their dimension."""


@dataclass(frozen=True)
class Dimension:
    """One setting: any number of [low, high] (whole ones where both are), drawn by its logarithm with `log`, or one of
    `values`. `why` says what the range holds on to.
    """

    why: str
    low: Value = 0
    high: Value = 0
    log: bool = False
    values: tuple[Value, ...] = ()

    @property
    def in_words(self) -> str:
        """The range as a table shows it."""
        if self.values:
            return ", ".join(f"{value:g}" for value in self.values)
        return f"{self.low:g} to {self.high:g}{' (logarithmic)' if self.log else ''}"


Space = Mapping[str, Dimension]

WINDOW: Final = "window_weeks"
NETWORK: Final[Space] = types.MappingProxyType(
    {
        "hidden": Dimension(
            "units of each of the three GRUs; 64 quadruple the time of 32", values=(16, 24, 32, 48, 64)
        ),
        "attention": Dimension("units over all heads", values=(16, 32, 64)),
        "heads": Dimension("every number divides every `attention`", values=(1, 2, 4, 8)),
        "fusion": Dimension("units of the last layer", values=(32, 64, 96, 128)),
        "learning_rate": Dimension("AdamW; above it diverges, below 50 epochs are too few", 2e-4, 5e-3, log=True),
        "batch_size": Dimension("records per step", values=(128, 256, 512)),
        "ema_decay": Dimension("how long the averaged weights remember", values=(0.99, 0.995, 0.999)),
        "weight_decay": Dimension("decoupled, as AdamW has it", 1e-3, 1.0, log=True),
        "dropout": Dimension("the same units through all weeks", 0.0, 0.6),
        "modality_dropout": Dimension("how often a whole kind of record is hidden", 0.0, 0.3),
    }
)
BOOSTED: Final[Space] = types.MappingProxyType(
    {
        "learning_rate": Dimension("500 trees at most, stopped early", 0.015, 0.15, log=True),
        "leaves": Dimension("from stumps with a twist to trees that learn students by heart", 4, 63, log=True),
        "min_rows_in_leaf": Dimension("a student has some 35 weeks a year", 20, 400, log=True),
        "feature_share": Dimension("of the columns, drawn for each tree", 0.1, 1.0),
        "row_share": Dimension("of the student-weeks, drawn for each tree", 0.4, 1.0),
        "l2": Dimension("pull of leaves towards nothing", 0.1, 100.0, log=True),
    }
)
_OF_THE_NETWORK: Final = ("hidden", "attention", "heads", "fusion", "dropout", "modality_dropout")
SEARCHED: Final[Mapping[str, Space]] = types.MappingProxyType({"gru": NETWORK, "ensemble": NETWORK, "boosted": BOOSTED})
"""By strategy; in an ensemble the networks are searched, LightGBM stays as it is."""


def search_space(strategy: str, windows: Sequence[int]) -> Space:
    """The dimensions of a strategy, and the length of the window where there is more than one to choose from.

    Raises:
        InvalidInputError: the strategy has nothing to search.
    """
    space = SEARCHED.get(strategy)
    if space is None:
        msg = f"Strategy {strategy!r} has no settings to search: choose one of {', '.join(SEARCHED)}."
        raise InvalidInputError(msg)
    if len(windows) < 2:
        return space
    weeks = Dimension("weeks that the model reads", values=tuple(sorted(windows)))
    return types.MappingProxyType({**space, WINDOW: weeks})


def including(space: Space, parameters: Parameters) -> Space:
    """`space`, wide enough for `parameters`: whoever starts from settings of their own compares with those."""
    return types.MappingProxyType({name: _including(space[name], value) for name, value in parameters.items()})


def _including(dimension: Dimension, value: Value) -> Dimension:
    if dimension.values:
        return replace(dimension, values=tuple(sorted({*dimension.values, value})))
    return replace(dimension, low=min(dimension.low, value), high=max(dimension.high, value))


def chosen(parameters: Parameters, base: StrategyOptions) -> StrategyOptions:
    """`base` with the chosen values in their places."""
    training, boosted = base.champion.training, base.boosted
    own = dict(parameters)
    window = int(own.pop(WINDOW, training.window_weeks))
    if base.strategy == "boosted":
        return replace(
            base,
            boosted=replace(boosted, **own),
            champion=replace(base.champion, training=replace(training, window_weeks=window)),
        )
    network: dict[str, Any] = {name: own.pop(name) for name in _OF_THE_NETWORK if name in own}
    training = replace(training, window_weeks=window, network=replace(training.network, **network), **own)
    return replace(base, champion=replace(base.champion, training=training))


def values_of(options: StrategyOptions, space: Space) -> Parameters:
    """The values that `options` have on the dimensions of `space`: where a search of it starts."""
    training = options.champion.training
    places = (options.boosted,) if options.strategy == "boosted" else (training.network, training)
    found: dict[str, Value] = {}
    for name in space:
        owner = next((place for place in places if hasattr(place, name)), training)
        found[name] = getattr(owner, name)
    return found
