"""Calibration and categories."""

import numpy as np
import pytest

from edupulse_ml.core.errors import InvalidInputError, NotEnoughDataError
from edupulse_ml.models.calibration import Calibrator, fit_calibrator, load_calibrators, save_calibrators
from edupulse_ml.models.policy import derive_policy


def skewed(*, rows, seed=0, base=-2.0):
    """Scores whose logit is half of the truth's, plus one."""
    rng = np.random.default_rng(seed)
    truth = base + 1.5 * rng.normal(size=rows)
    label = (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype(np.int8)
    return 1 / (1 + np.exp(-(0.5 * truth + 1))), label, 1 / (1 + np.exp(-truth))


@pytest.mark.parametrize(("rows", "method"), [(2000, "platt"), (20_000, "isotonic")])
def test_probabilities_become_true(rows, method):
    score, label, truth = skewed(rows=rows)
    calibrator = fit_calibrator(score, label, student=np.arange(rows))
    assert calibrator.method == method
    assert calibrator.rows == rows
    assert calibrator.students_with_event == label.sum()
    calibrated = calibrator.apply(score)
    assert np.abs(calibrated - truth).mean() < 0.02 < np.abs(score - truth).mean()


@pytest.mark.parametrize("rows", [2000, 20_000])
def test_order_is_kept_strictly(rows):
    score, label, _ = skewed(rows=rows)
    calibrator = fit_calibrator(score, label, student=np.arange(rows))
    grid = np.linspace(0.001, 0.999, 500)
    assert np.all(np.diff(calibrator.apply(grid)) > 0)


def test_events_are_counted_by_student_not_by_week():
    score, label, _ = skewed(rows=20_000)
    student = np.arange(20_000) // 40
    assert fit_calibrator(score, label, student=student).method == "platt"


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-12])
def test_the_ends_stay_probabilities(value):
    score, label, _ = skewed(rows=2000)
    answer = fit_calibrator(score, label, student=np.arange(2000)).apply(np.array([value]))
    assert 0 <= answer[0] <= 1


def test_an_upside_down_score_is_not_turned_round():
    score, label, _ = skewed(rows=2000)
    calibrator = fit_calibrator(1 - score, label, student=np.arange(2000))
    assert calibrator.slope == 1.0
    assert calibrator.apply(1 - score).mean() == pytest.approx(label.mean(), abs=0.05)


def test_too_few_events_are_refused_unless_small_data_is_allowed():
    score, label = np.linspace(0.1, 0.9, 100), np.zeros(100, dtype=np.int8)
    label[:4] = 1
    with pytest.raises(NotEnoughDataError, match="4 students with the event"):
        fit_calibrator(score, label, student=np.arange(100))
    calibrator = fit_calibrator(score, label, student=np.arange(100), allow_small=True)
    assert calibrator.method == "identity"
    np.testing.assert_array_equal(calibrator.apply(score), score)


def test_calibrators_survive_their_file(tmp_path):
    score, label, _ = skewed(rows=20_000)
    saved = {"risk_score": fit_calibrator(score, label, student=np.arange(20_000)), "other": Calibrator("platt", 2, 1)}
    save_calibrators(saved, tmp_path / "calibration.json")
    assert load_calibrators(tmp_path / "calibration.json") == saved


def test_categories_follow_base_rate_and_capacity():
    scores = np.linspace(0, 0.5, 1001)
    policy = derive_policy(scores, base_rate=0.03, capacity_share=0.05, version="7")
    assert policy.version == "7"
    assert policy.moderate_from == pytest.approx(0.06)
    assert policy.high_from == pytest.approx(0.12)
    assert (scores >= policy.critical_from).mean() <= 0.05
    assert (scores >= policy.critical_from - 0.0006).mean() > 0.049


def test_capacity_beyond_eight_times_the_base_rate_is_not_filled():
    policy = derive_policy(np.linspace(0, 0.1, 1000), base_rate=0.03, version="1")
    assert policy.critical_from == pytest.approx(0.24)


def test_a_tie_at_the_capacity_limit_is_left_out_whole():
    scores = np.concatenate([np.full(20, 0.9), np.full(100, 0.8), np.full(880, 0.01)])
    policy = derive_policy(scores, base_rate=0.05, capacity_share=0.05, version="1")
    assert (scores >= policy.critical_from).sum() == 20
    everyone = derive_policy(np.full(100, 0.9), base_rate=0.05, version="1")
    assert everyone.critical_from > 0.9


@pytest.mark.parametrize("base_rate", [0.001, 0.05, 0.11, 0.12, 0.3, 0.6, 0.95])
def test_thresholds_rise_strictly_and_stay_reachable(base_rate):
    scores = np.random.default_rng(0).random(500)
    policy = derive_policy(scores, base_rate=base_rate, version="1")
    assert 0 < policy.moderate_from < policy.high_from < policy.critical_from <= 1


@pytest.mark.parametrize(("scores", "base_rate", "capacity"), [([], 0.1, 0.05), ([0.1], 0.0, 0.05), ([0.1], 0.1, 1.0)])
def test_nonsense_is_refused(scores, base_rate, capacity):
    with pytest.raises(InvalidInputError, match="A category policy needs"):
        derive_policy(np.array(scores), base_rate=base_rate, capacity_share=capacity, version="1")
