"""The sequential test keeps its level however often one looks; a test of fixed size looked at daily does not."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.evaluation.sequential import (
    ALPHA,
    STAKES,
    log_wealth,
    mean_evidence,
    most_wealth,
    share_evidence,
)

CHALLENGES, STUDENTS, LOOKS = 1000, 600, 60
observations = arrays(np.float64, st.integers(0, 60), elements=st.floats(-1, 1, width=32))


def error_gains(rng: np.random.Generator, shape: tuple[int, int], *, noises: tuple[float, float]) -> np.ndarray:
    """[challenges, students] squared errors of a champion less those of a challenger, whose logits miss the true ones by
    normal noise of these standard deviations (champion's, challenger's).
    """
    truth = rng.normal(-2.0, 1.2, shape)
    left = rng.random(shape) < 1 / (1 + np.exp(-truth))
    champion, challenger = ((1 / (1 + np.exp(-(truth + rng.normal(0, noise, shape)))) - left) ** 2 for noise in noises)
    return champion - challenger


def alarms_of_the_sequential_test(gains: np.ndarray) -> float:
    """Share of challenges in which one of the looks says that one model is better."""
    up = log_wealth(gains, loss=1.0).max(axis=-1)
    down = log_wealth(-gains, loss=1.0).max(axis=-1)
    return float((np.maximum(up, down) >= math.log(2 / ALPHA)).mean())


def alarms_of_the_fixed_test(gains: np.ndarray) -> float:
    """As above, for a two-sided z-test at each look."""
    at = np.linspace(STUDENTS / LOOKS, STUDENTS, LOOKS).astype(int)
    sums, squares = np.cumsum(gains, axis=-1)[:, at - 1], np.cumsum(gains**2, axis=-1)[:, at - 1]
    mean = sums / at
    z = mean / np.sqrt((squares / at - mean**2) / at)
    return float((np.abs(z) > 1.96).any(axis=-1).mean())


def test_daily_looks_raise_no_more_false_alarms_than_the_level_but_do_with_a_fixed_test() -> None:
    gains = error_gains(np.random.default_rng(1), (CHALLENGES, STUDENTS), noises=(0.5, 0.5))
    assert alarms_of_the_sequential_test(gains) <= ALPHA
    assert alarms_of_the_fixed_test(gains) > 5 * ALPHA


def test_in_the_wildest_fair_game_there_are_false_alarms_and_no_more_than_the_level() -> None:
    coins = np.random.default_rng(11).choice([-1.0, 1.0], (CHALLENGES, STUDENTS))
    assert 0.0 < alarms_of_the_sequential_test(coins) <= ALPHA


def test_a_challenger_that_is_better_is_found_and_one_that_is_worse_never_takes_its_place() -> None:
    gains = error_gains(np.random.default_rng(2), (20, 3000), noises=(0.8, 0.3))
    needed = math.log(2 / ALPHA)
    assert (log_wealth(gains, loss=1.0).max(axis=-1) >= needed).sum() >= 18
    assert not (log_wealth(-gains, loss=1.0).max(axis=-1) >= needed).any()
    assert (mean_evidence(gains[0]).side, mean_evidence(-gains[0]).side) == ("positive", "negative")


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_arms_drawn_at_random_raise_no_more_false_alarms_than_the_level(share: float) -> None:
    rng = np.random.default_rng(4)
    drawn = rng.random((CHALLENGES, 300)) < share
    sides = [share_evidence(row, np.full(300, share)).side for row in drawn[:500]]
    assert np.mean([side != "open" for side in sides]) <= ALPHA
    rescued = rng.random((50, 300)) < share / 3  # two thirds of the leavers of this arm stayed
    assert [share_evidence(row, np.full(300, share)).side for row in rescued].count("negative") >= 45


@pytest.mark.parametrize(("gain", "loss"), [(1.0, 1.0), (0.25, 1.0), (0.9, 0.1)])
def test_in_a_fair_game_the_mean_wealth_is_one(gain: float, loss: float) -> None:
    """Every path of twelve fair bets, each with its probability: the definition of a martingale, counted out."""
    won = np.array(list(itertools.product([False, True], repeat=12)))
    chance = np.where(won, loss / (gain + loss), gain / (gain + loss)).prod(axis=1)
    wealth = np.exp(log_wealth(np.where(won, gain, -loss), loss=loss))
    for n in (1, 5, 12):
        assert float((chance * wealth[:, n - 1]).sum()) == pytest.approx(1.0, abs=1e-9)


def test_wealth_is_the_mean_of_bettors_who_stake_a_fixed_share() -> None:
    x = [0.3, -0.9, 0.05, 1.0]
    slow = [np.mean([math.prod(1 + stake * value for value in x[: n + 1]) for stake in STAKES]) for n in range(4)]
    assert np.exp(log_wealth(np.array(x), loss=1.0)) == pytest.approx(slow)


@given(observations, st.randoms())
@settings(max_examples=60)
def test_what_was_said_is_never_taken_back(x: np.ndarray, random) -> None:
    cut = random.randint(0, len(x))
    before, after = mean_evidence(x[:cut]), mean_evidence(x)
    assert after.for_positive >= before.for_positive
    assert after.for_negative >= before.for_negative
    assert before.side in {"open", after.side}
    assert after.low >= before.low - 1e-9
    assert after.high <= before.high + 1e-9
    assert -1.0 <= before.low <= before.high <= 1.0 or before.side != "open"


@pytest.mark.parametrize(("first", "then"), [(1.0, "positive"), (-1.0, "negative")])
def test_the_side_that_was_shown_first_stays_whatever_speaks_for_the_other_one_later(first: float, then: str) -> None:
    """A short run one way, then a long one the other way, whose wealth is far larger in the end."""
    said = mean_evidence(first * np.r_[np.ones(20), -np.ones(400)])
    assert min(said.for_positive, said.for_negative) >= 2 / ALPHA
    assert said.side == then
    is_in = np.r_[np.full(30, first > 0), np.full(400, first < 0)]
    said = share_evidence(is_in, np.full(430, 0.5))
    assert min(said.for_positive, said.for_negative) >= 2 / ALPHA
    assert said.side == then


@given(observations)
@settings(max_examples=60)
def test_the_order_within_a_look_does_not_matter_to_the_wealth(x: np.ndarray) -> None:
    if len(x):
        last = log_wealth(x, loss=1.0)[-1]
        assert log_wealth(np.sort(x), loss=1.0)[-1] == pytest.approx(last, abs=1e-9)


@given(observations)
@settings(max_examples=60)
def test_the_interval_leaves_out_zero_where_a_side_is_taken(x: np.ndarray) -> None:
    said = mean_evidence(x)
    enough = 2 / ALPHA
    assert (said.low > 1e-6) <= (said.for_positive >= enough * 0.999)
    assert (said.high < -1e-6) <= (said.for_negative >= enough * 0.999)


def test_the_interval_holds_the_mean_at_all_times() -> None:
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(100):
        said = mean_evidence(rng.choice([-0.5, 0.1, 0.8], 200, p=[0.3, 0.4, 0.3]))
        missed += not said.low <= 0.13 <= said.high
    assert missed <= 5


def test_no_observation_is_no_evidence() -> None:
    said = mean_evidence(np.empty(0))
    assert (said.n, said.mean, said.for_positive, said.side) == (0, None, 1.0, "open")
    assert most_wealth(np.empty(0), loss=1.0) == 1.0
    assert share_evidence(np.empty(0, np.bool_), np.empty(0)).side == "open"


def test_what_breaks_the_bounds_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        mean_evidence(np.array([0.0, 1.5]))
    with pytest.raises(InvalidInputError):
        share_evidence(np.array([True]), np.array([1.0]))


def test_a_side_is_taken_only_beyond_half_of_the_level() -> None:
    looks = [mean_evidence(np.ones(n)) for n in range(1, 15)]
    between = [look for look in looks if 1 / ALPHA <= look.for_positive < 2 / ALPHA]
    beyond = [look for look in looks if look.for_positive >= 2 / ALPHA]
    assert between, "a look lies between the level of one direction and that of both"
    assert beyond
    assert {look.side for look in between} == {"open"}
    assert {look.side for look in beyond} == {"positive"}
    assert {mean_evidence(-np.ones(look.n)).side for look in beyond} == {"negative"}
