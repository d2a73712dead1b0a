"""Shapley values of trees: against all coalitions, additive, missing values as LightGBM reads them."""

import itertools
import math

import lightgbm as lgb
import numpy as np
import pytest

from edupulse_ml.explain.tree_paths import TreePaths

COLUMNS = 6


def boosted(*, seed, missing=0.2, trees=12, leaves=7):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(600, COLUMNS)).astype(np.float32)
    label = rng.random(600) < 1 / (1 + np.exp(-(rows[:, 0] * rows[:, 1] + rows[:, 2] - 0.5 * rows[:, 3])))
    rows[rng.random(rows.shape) < missing] = np.nan
    parameters = {"objective": "binary", "num_leaves": leaves, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lgb.train(parameters, lgb.Dataset(rows, label=label.astype(int)), num_boost_round=trees)
    return booster, rows


def logit(booster, rows):
    return booster.predict(rows, raw_score=True, num_threads=1)


def shapley(booster, row, reference):
    """By the definition, over all coalitions of columns."""
    out = np.zeros(COLUMNS)
    coalitions = list(itertools.product([False, True], repeat=COLUMNS))
    mixed = np.array([np.where(taken, row, reference) for taken in coalitions])
    value = dict(zip(coalitions, logit(booster, mixed), strict=True))
    for column in range(COLUMNS):
        for taken in coalitions:
            if taken[column]:
                continue
            joined = tuple(t or i == column for i, t in enumerate(taken))
            size = sum(taken)
            share = math.factorial(size) * math.factorial(COLUMNS - size - 1) / math.factorial(COLUMNS)
            out[column] += share * (value[joined] - value[taken])
    return out


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_they_are_the_shapley_values_of_all_coalitions(seed, missing):
    booster, rows = boosted(seed=seed, missing=missing)
    chosen, reference = rows[:5], rows[5:10]
    found = TreePaths(booster).contributions(chosen, reference)
    for position in range(5):
        np.testing.assert_allclose(found[position], shapley(booster, chosen[position], reference[position]), atol=1e-10)


@pytest.mark.parametrize("leaves", [2, 15, 31])
def test_they_add_up_to_the_difference_of_the_logits(leaves):
    booster, rows = boosted(seed=3, leaves=leaves, trees=60)
    reference = np.where(np.isnan(rows), np.nan, 0.0).astype(np.float32)
    found = TreePaths(booster).contributions(rows, reference)
    np.testing.assert_allclose(found.sum(axis=1), logit(booster, rows) - logit(booster, reference), atol=1e-9)
    assert not found[np.isnan(rows)].any()


def test_missing_values_never_seen_in_training_are_read_as_zero():
    booster, rows = boosted(seed=4, missing=0.0)
    holes = rows[:50].copy()
    holes[:, ::2] = np.nan
    found = TreePaths(booster).contributions(holes, rows[50:100])
    np.testing.assert_allclose(found.sum(axis=1), logit(booster, holes) - logit(booster, rows[50:100]), atol=1e-10)


def test_a_booster_without_splits_gives_nothing_its_due():
    rows = np.zeros((40, COLUMNS), dtype=np.float32)
    label = np.arange(40) % 2
    booster = lgb.train({"objective": "binary", "verbosity": -1}, lgb.Dataset(rows, label=label), num_boost_round=2)
    assert not TreePaths(booster).contributions(rows + 1, rows).any()
    assert TreePaths(booster).contributions(rows[:0], rows[:0]).shape == (0, COLUMNS)


def test_several_boosters_share_what_moves_their_mean_logit():
    fits = [boosted(seed=seed) for seed in (5, 6, 7)]
    boosters, rows = [booster for booster, _ in fits], fits[0][1][:40]
    reference = np.where(np.isnan(rows), np.nan, 0.0).astype(np.float32)
    found = TreePaths(*boosters).contributions(rows, reference)
    each = [TreePaths(booster).contributions(rows, reference) for booster in boosters]
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-10)
