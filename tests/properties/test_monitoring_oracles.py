"""Stability index, Kolmogorov-Smirnov distance, adjusted chances and falls of volumes against plain, slow ways."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from edupulse_ml.monitoring import drift

values = st.lists(st.integers(0, 12), min_size=3, max_size=60)
weights_of = st.integers(0, 2**31)


def slow_index(reference: list[float], current: list[float], *, reference_n: int, current_n: int) -> float:
    total = 0.0
    for before, now in zip(reference, current, strict=True):
        p = (before * reference_n + 0.5) / (reference_n + 0.5 * len(reference))
        q = (now * current_n + 0.5) / (current_n + 0.5 * len(current))
        total += (q - p) * math.log(q / p)
    return total


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=10))
def test_the_index_is_the_sum_over_bins_and_is_symmetric(counts) -> None:
    before, now = (np.asarray(column, np.float64) for column in zip(*counts, strict=True))
    assume(before.sum() > 0 and now.sum() > 0)
    n, m = int(before.sum()), int(now.sum())
    p, q = before / before.sum(), now / now.sum()
    index = drift.raw_stability_index(p, q, reference_n=n, current_n=m)
    assert index == pytest.approx(slow_index(p.tolist(), q.tolist(), reference_n=n, current_n=m))
    assert index == pytest.approx(drift.raw_stability_index(q, p, reference_n=m, current_n=n))
    assert index >= -1e-12
    expected_by_chance = sum(1 / n + 1 / m for _ in range(len(p) - 1))
    corrected = drift.stability_index(p, q, reference_n=n, current_n=m)
    assert corrected == pytest.approx(max(0.0, index - expected_by_chance))


@settings(deadline=None)
@given(values, values)
def test_the_distance_is_that_of_scipy(before, now) -> None:
    x, y = np.asarray(before, np.float64), np.asarray(now, np.float64)
    distance = drift.ks_distance(x, y, reference_weights=np.ones(len(x)), current_weights=np.ones(len(y)))
    assert distance == pytest.approx(stats.ks_2samp(x, y, method="asymp").statistic)


@settings(deadline=None)
@given(values, values, weights_of)
def test_a_weight_is_a_number_of_copies(before, now, seed) -> None:
    x, y = np.asarray(before, np.float64), np.asarray(now, np.float64)
    copies = np.random.default_rng(seed).integers(1, 4, len(x))
    weighed = drift.ks_distance(x, y, reference_weights=copies.astype(np.float64), current_weights=np.ones(len(y)))
    repeated = stats.ks_2samp(np.repeat(x, copies), y, method="asymp").statistic
    assert weighed == pytest.approx(repeated)
    edges = drift.bin_edges(x, bins=5)
    assert drift.shares(x, edges, weights=copies.astype(np.float64)) == pytest.approx(
        drift.shares(np.repeat(x, copies), edges, weights=np.ones(copies.sum()))
    )


@settings(deadline=None)
@given(values)
def test_every_value_lies_in_one_bin_below_its_upper_edge(before) -> None:
    x = np.asarray(before, np.float64)
    edges = drift.bin_edges(x, bins=10)
    assert (np.diff(edges) > 0).all()
    bounds = [-math.inf, *edges.tolist(), math.inf]
    expected = [np.mean((x > low) & (x <= high)) for low, high in itertools.pairwise(bounds)]
    assert drift.shares(x, edges, weights=np.ones(len(x))) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_chances_are_those_of_holm_step_by_step(chances) -> None:
    expected = {}
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(chances)), key=lambda i: chances[i])):
        largest = max(largest, chances[index] * (len(chances) - rank))
        expected[index] = min(1.0, largest)
    assert drift.holm(chances) == pytest.approx([expected[index] for index in range(len(chances))])


def test_without_change_the_chances_are_spread_evenly_and_the_index_is_nought_on_average() -> None:
    rng = np.random.default_rng(7)
    n, m, p = 800, 500, np.asarray([0.1, 0.2, 0.3, 0.4])
    chances, indices = [], []
    for _ in range(2000):
        before, now = rng.multinomial(n, p) / n, rng.multinomial(m, p) / m
        raw = drift.raw_stability_index(before, now, reference_n=n, current_n=m)
        chances.append(drift.stability_chance(raw, bins=4, reference_n=n, current_n=m))
        indices.append(raw - 3 * (1 / n + 1 / m))
    assert np.mean(np.asarray(chances) < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(np.asarray(chances) < 0.5) == pytest.approx(0.5, abs=0.035)
    assert np.mean(indices) == pytest.approx(0.0, abs=0.0005)


def test_the_chance_of_a_distance_is_that_of_scipy_for_large_samples() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=3000), rng.normal(0.05, size=2000)
    found = stats.ks_2samp(x, y, method="asymp")
    distance = drift.ks_distance(x, y, reference_weights=np.ones(3000), current_weights=np.ones(2000))
    assert drift.ks_chance(distance, reference_n=3000, current_n=2000) == pytest.approx(found.pvalue, rel=0.1)


def test_the_chance_of_a_rise_is_that_of_two_proportions() -> None:
    table = np.asarray([[60, 440], [30, 470]])
    one_sided = math.sqrt(stats.chi2_contingency(table, correction=False).statistic)
    assert drift.rise_chance(0.06, 0.12, reference_n=500, current_n=500) == pytest.approx(stats.norm.sf(one_sided))
    assert drift.rise_chance(0.12, 0.06, reference_n=500, current_n=500) > 0.99
    assert drift.rise_chance(1.0, 1.0, reference_n=500, current_n=500) == 1.0
    assert drift.stability_chance(0.0, bins=1, reference_n=500, current_n=500) == 1.0
