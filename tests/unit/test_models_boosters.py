"""Boosters of several seeds: their mean logit, their folder, and folders of one seed per task."""

import json

import lightgbm as lgb
import numpy as np
import pytest

from edupulse_ml.models.boosters import TASKS_FILE, TaskBoosters

ROWS = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)


def booster(seed, *, trees=5):
    parameters = {"objective": "binary", "verbosity": -1, "num_threads": 1, "seed": seed, "feature_fraction": 0.5}
    label = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
    return lgb.train(parameters, lgb.Dataset(ROWS, label=label), num_boost_round=trees)


def raw(each):
    return each.predict(ROWS, raw_score=True, num_threads=1)


@pytest.fixture
def fits():
    return [{"early": booster(seed), "late": booster(seed, trees=9)} for seed in range(3)]


def test_the_logit_is_the_mean_of_the_seeds(fits):
    boosters = TaskBoosters.of_seeds(fits)
    for task in ("early", "late"):
        np.testing.assert_allclose(boosters.logit(ROWS, task), np.mean([raw(fit[task]) for fit in fits], axis=0))
    assert not np.array_equal(raw(fits[0]["early"]), raw(fits[1]["early"]))


def test_what_is_loaded_says_what_was_saved(fits, tmp_path):
    boosters = TaskBoosters.of_seeds(fits)
    boosters.save(tmp_path)
    loaded = TaskBoosters.load(tmp_path)
    assert {task: len(seeds) for task, seeds in loaded.boosters.items()} == {"early": 3, "late": 3}
    for task, logit in boosters.logits(ROWS).items():
        np.testing.assert_array_equal(loaded.logit(ROWS, task), logit)


def test_a_folder_with_a_list_of_tasks_has_one_seed_of_each(fits, tmp_path):
    TaskBoosters.of_seeds(fits[:1]).save(tmp_path)
    (tmp_path / TASKS_FILE).write_text(json.dumps(["early", "late"]))
    loaded = TaskBoosters.load(tmp_path)
    for task in ("early", "late"):
        np.testing.assert_array_equal(loaded.logit(ROWS, task), raw(fits[0][task]))


def test_no_rows_have_no_logits(fits):
    assert TaskBoosters.of_seeds(fits).logit(ROWS[:0], "late").shape == (0,)
    assert not TaskBoosters.of_seeds([]).boosters
