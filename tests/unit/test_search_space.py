"""What a search may change: every value it can choose makes options that can be trained."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.models.gru import RiskNet
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions
from edupulse_ml.training.search.space import (
    BOOSTED,
    NETWORK,
    SEARCHED,
    WINDOW,
    chosen,
    including,
    search_space,
    values_of,
)
from edupulse_ml.training.strategies import StrategyOptions


def draws(space):
    def of(dimension):
        if dimension.values:
            return st.sampled_from(dimension.values)
        if isinstance(dimension.low, int):
            return st.integers(dimension.low, dimension.high)
        return st.floats(dimension.low, dimension.high)

    return st.fixed_dictionaries({name: of(dimension) for name, dimension in space.items()})


@pytest.mark.parametrize("strategy", ["gru", "ensemble", "boosted"])
def test_the_defaults_lie_inside_the_space_and_come_back_from_it(strategy):
    base = StrategyOptions(strategy)
    space = search_space(strategy, (12, 20))
    values = values_of(base, space)
    for name, value in values.items():
        dimension = space[name]
        assert value in dimension.values if dimension.values else dimension.low <= value <= dimension.high, name
    assert chosen(values, base) == base


@settings(max_examples=60)
@given(draws(search_space("gru", (8, 20))))
def test_every_network_of_the_space_can_be_built(parameters):
    base = StrategyOptions("gru", champion=ChampionOptions(training=TrainingOptions(seed=3, allow_small=True)))
    training = chosen(parameters, base).champion.training
    RiskNet(training.network)
    assert values_of(chosen(parameters, base), search_space("gru", (8, 20))) == parameters
    assert (training.seed, training.allow_small, training.epochs) == (3, True, 50)


def test_trees_and_window_go_to_their_places():
    base = StrategyOptions("boosted")
    found = chosen({"leaves": 31, "learning_rate": 0.02, "l2": 7.0, WINDOW: 12}, base)
    assert (found.boosted.leaves, found.boosted.learning_rate, found.boosted.l2) == (31, 0.02, 7.0)
    assert found.champion.contract.window_weeks == 12
    assert found.champion.training == replace(base.champion.training, window_weeks=12)
    assert found.boosted.monotone == base.boosted.monotone


def test_a_window_is_searched_only_where_there_is_a_choice():
    assert WINDOW not in search_space("gru", (20,))
    assert search_space("ensemble", (12, 8, 20))[WINDOW].values == (8, 12, 20)
    assert dict(search_space("boosted", (20,))) == dict(BOOSTED)


def test_a_rule_has_nothing_to_search():
    with pytest.raises(InvalidInputError, match="gru, ensemble, boosted"):
        search_space("rules", (20,))


def test_every_range_is_explained():
    for space in SEARCHED.values():
        for dimension in space.values():
            assert dimension.why
            assert dimension.in_words
    assert NETWORK["learning_rate"].in_words == "0.0002 to 0.005 (logarithmic)"


def test_the_space_grows_to_hold_what_a_search_starts_from():
    start = {"hidden": 8, "dropout": 0.7, "learning_rate": 1e-3}
    grown = including(NETWORK, start)
    assert grown["hidden"].values == (8, 16, 24, 32, 48, 64)
    assert (grown["dropout"].low, grown["dropout"].high) == (0.0, 0.7)
    assert grown["learning_rate"] == NETWORK["learning_rate"]
