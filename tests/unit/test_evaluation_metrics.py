"""Metrics: what they say of small sets, and what they refuse to say."""

import math

import numpy as np
import pytest

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Outcomes
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.evaluation import metrics
from edupulse_ml.evaluation.bootstrap import BOOTSTRAPPED, bootstrap_metrics, percentile_interval
from edupulse_ml.evaluation.lead_time import first_sustained_flag, lead_time, weekly_flags


def labels(*values: int) -> np.ndarray:
    return np.asarray(values, dtype=np.int8)


def simulated(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the scores themselves: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(-rng.normal(-2, 1.2, n)))
    return (rng.random(n) < score).astype(np.int8), score


def test_a_class_that_is_absent_gives_no_number_but_a_reason() -> None:
    stayed = metrics.measure(labels(0, 0, 0), np.asarray([0.1, 0.2, 0.3]))
    left = metrics.measure(labels(1, 1), np.asarray([0.1, 0.2]))
    nobody = metrics.measure(labels(), np.empty(0))
    assert math.isnan(stayed["auc"].value)
    assert stayed["auc"].reason == metrics.NO_EVENT
    assert stayed["recall_top5"].reason == metrics.NO_EVENT
    assert stayed["precision_top5"].value == 0.0
    assert left["auc"].reason == metrics.ONLY_EVENTS
    assert left["average_precision"].value == 1.0
    assert {figure.reason for figure in nobody.values()} == {metrics.NO_ROWS}
    assert tuple(nobody) == metrics.METRICS


def test_equal_scores_rank_nothing() -> None:
    figures = metrics.measure(labels(1, 0, 0, 0), np.full(4, 0.25))
    assert figures["auc"].value == 0.5
    assert figures["precision_top10"].value == 0.25
    assert figures["calibration_slope"].reason == metrics.EQUAL_SCORES
    assert figures["calibration_intercept"].value == pytest.approx(0.0, abs=1e-6)
    assert figures["ece"].value == 0.0


def test_calibrated_scores_have_slope_one_and_no_error() -> None:
    label, score = simulated(200_000, seed=1)
    figures = metrics.measure(label, score)
    assert figures["calibration_slope"].value == pytest.approx(1.0, abs=0.03)
    assert figures["calibration_intercept"].value == pytest.approx(0.0, abs=0.03)
    assert figures["ece"].value < 0.004


def test_scores_too_far_apart_have_slope_below_one() -> None:
    label, score = simulated(50_000, seed=2)
    logit = np.log(score / (1 - score))
    assert metrics.calibration_slope(label, 1 / (1 + np.exp(-2 * logit))).value == pytest.approx(0.5, abs=0.02)
    too_low = 1 / (1 + np.exp(-(logit - 0.7)))
    assert metrics.calibration_intercept(label, too_low).value == pytest.approx(0.7, abs=0.05)


def test_separated_classes_have_no_slope() -> None:
    slope = metrics.calibration_slope(labels(0, 0, 1, 1), np.asarray([0.1, 0.2, 0.8, 0.9]))
    assert slope.reason == metrics.SEPARATED


@pytest.mark.parametrize("bad", [np.asarray([0.1, 1.2]), np.asarray([0.1, np.nan]), np.asarray([0.1])])
def test_what_is_no_probability_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(InvalidInputError):
        metrics.measure(labels(0, 1), bad)


def test_unknown_labels_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="unknown"):
        metrics.measure(labels(0, -1), np.asarray([0.1, 0.2]))


def test_resampling_students_widens_the_interval() -> None:
    label, score = simulated(400, seed=3)
    repeated_label, repeated_score = np.repeat(label, 10), np.repeat(score, 10)
    by_student = bootstrap_metrics(repeated_label, {"m": repeated_score}, np.repeat(np.arange(400), 10), seed=0)
    by_row = bootstrap_metrics(repeated_label, {"m": repeated_score}, np.arange(4000), seed=0)
    widths = [np.ptp(np.quantile(r["m"]["auc"], [0.025, 0.975])) for r in (by_student, by_row)]
    assert widths[0] > 2 * widths[1]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = float(np.mean([metrics.measure(*simulated(20_000, seed))["auc"].value for seed in range(3)]))
    covered = 0
    for seed in range(60):
        label, score = simulated(400, seed=1000 + seed)
        replicates = bootstrap_metrics(label, {"m": score}, np.arange(400), replicates=200, seed=seed)["m"]["auc"]
        interval = percentile_interval(replicates)
        covered += interval.low <= truth <= interval.high
    assert covered >= 51


def test_models_see_the_same_draws() -> None:
    label, score = simulated(300, seed=5)
    result = bootstrap_metrics(label, {"a": score, "b": score**2}, np.arange(300), replicates=50, seed=9)
    for metric in BOOTSTRAPPED[:-1]:
        np.testing.assert_allclose(result["a"][metric], result["b"][metric])


def test_the_same_seed_gives_the_same_interval() -> None:
    label, score = simulated(300, seed=5)
    first, second = (bootstrap_metrics(label, {"a": score}, np.arange(300), replicates=20, seed=9) for _ in range(2))
    np.testing.assert_array_equal(first["a"]["auc"], second["a"]["auc"])


def test_flags_fill_the_places_of_each_week() -> None:
    score = np.asarray([0.9, 0.1, 0.2, 0.5, 0.5, 0.5])
    week = np.asarray([7, 7, 7, 14, 14, 14], np.int32)
    flagged = weekly_flags(score, week, share=0.34, seed=0)
    assert flagged[:3].tolist() == [True, False, True]
    assert flagged[3:].sum() == 2


def test_two_flags_in_three_weeks_are_needed() -> None:
    student = np.zeros(6, np.int32)
    cutoff = np.arange(0, 42, 7, dtype=np.int32)
    for flags, first in [
        ([1, 0, 0, 1, 0, 0], NEVER),
        ([1, 0, 1, 0, 0, 0], 14),
        ([0, 1, 1, 0, 0, 0], 14),
        ([1, 0, 0, 1, 1, 0], 28),
    ]:
        assert first_sustained_flag(student, cutoff, np.asarray(flags, bool))[1].tolist() == [first]


def test_lead_time_runs_from_the_sustained_flag_to_the_last_day_attended() -> None:
    n, weeks = 40, 15
    student = np.repeat(np.arange(n, dtype=np.int32), weeks)
    cutoff = np.tile(np.arange(0, 7 * weeks, 7, dtype=np.int32), n)
    leaver = student < 12
    score = np.where(leaver & (cutoff >= 14), 0.9, 0.1)
    event = np.where(leaver, 100, NEVER).astype(np.int32)
    found = lead_time(student, cutoff, score, Outcomes(event, event, 400), share=0.3)
    assert (found.n_leavers, found.n_caught) == (12, 12)
    assert found.median_days == pytest.approx(79, abs=7)
    assert found.share_at_least_60 == 1.0
    assert found.share_at_least_90 is not None
    assert found.share_at_least_90 <= 0.5
    assert found.share_never_flagged == 0.0
    assert len(found.ecdf_days) == 21


def test_who_left_after_the_lists_had_ended_is_no_leaver_of_theirs() -> None:
    n, weeks = 100, 10
    student = np.repeat(np.arange(n, dtype=np.int32), weeks)
    cutoff = np.tile(np.arange(0, 7 * weeks, 7, dtype=np.int32), n)
    last_day = np.full(n, NEVER, np.int32)
    last_day[:12], last_day[12:24], last_day[24:36] = 70, 71, 900
    event = last_day[student]
    score = np.where((student < 6) | (student >= 30) & (student < 34), 0.9, 0.1)
    found = lead_time(student, cutoff, score, Outcomes(event, event, 2000), share=0.1)
    assert (found.n_leavers, found.share_never_flagged) == (12, pytest.approx(0.5))
    ten_flagged = np.where((student < 10) | (student >= 24) & (student < 36), 0.9, 0.1)
    flagged = lead_time(student, cutoff, ten_flagged, Outcomes(event, event, 2000), share=0.22)
    assert flagged.n_caught == 10
    assert max(flagged.ecdf_days) <= 70


def test_weeks_after_leaving_cannot_flag_anybody() -> None:
    n, weeks = 30, 8
    student = np.repeat(np.arange(n, dtype=np.int32), weeks)
    cutoff = np.tile(np.arange(0, 7 * weeks, 7, dtype=np.int32), n)
    event = np.where(student < 15, 20, NEVER).astype(np.int32)
    score = np.where((student < 15) & (cutoff >= 20), 0.9, 0.1 + student / 1000)
    found = lead_time(student, cutoff, score, Outcomes(event, event, 400), share=0.5)
    assert (found.n_leavers, found.n_caught, found.share_never_flagged) == (15, 0, 1.0)


def test_few_leavers_are_not_described() -> None:
    student, cutoff = np.arange(5, dtype=np.int32), np.zeros(5, np.int32)
    event = np.full(5, 5, np.int32)
    found = lead_time(student, cutoff, np.linspace(0, 1, 5), Outcomes(event, event, 400))
    assert found.median_days is None
    assert found.share_never_flagged is None
    assert found.reason is not None
