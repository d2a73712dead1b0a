"""Drift of a cohort: found when it is there, not cried when it is not, and compared within the week of the year."""

import numpy as np
import pytest

from edupulse_ml.core.contract import FEATURE_INDEX, FEATURE_NAMES
from edupulse_ml.monitoring.cohort_drift import Cohort, feature_drift, score_drift
from edupulse_ml.monitoring.watch_policy import load_watch_policy

_, POLICY = load_watch_policy()
RATE = FEATURE_INDEX["absence_rate_4wk"]
LONG = 2000
COUNT = FEATURE_INDEX["odr_count_wk"]


def cohort(seed: int, *, students: int = 600, weeks=(30, 31, 32, 33), first: int = 0) -> Cohort:
    """Each student has a level of their own; rates rise by the week, counts are mostly 0."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(students, 1, len(FEATURE_NAMES)))
    week = np.asarray(weeks)
    values = level + 0.3 * rng.normal(size=(students, len(week), len(FEATURE_NAMES))) + 0.5 * (week - 30)[None, :, None]
    values[:, :, COUNT] = rng.poisson(0.1, (students, len(week)))
    return Cohort(
        np.repeat(np.arange(first, first + students), len(week)),
        np.tile(week, students).astype(np.int32),
        values.reshape(-1, len(FEATURE_NAMES)),
    )


def with_values(of: Cohort, column: int, values: np.ndarray) -> Cohort:
    changed = of.values.copy()
    changed[:, column] = values
    return Cohort(of.student, of.week_of_year, changed)


def alerts(reference: Cohort, current: Cohort) -> set[tuple[str, str]]:
    figures = feature_drift(reference, current, reference_days=LONG, policy=POLICY.drift)
    return {(figure.kind, figure.subject) for figure in figures if figure.is_alert}


def test_no_alert_without_a_change_however_often_it_is_looked() -> None:
    assert [alerts(cohort(2 * seed), cohort(2 * seed + 1)) for seed in range(20)] == [set()] * 20


def test_a_shift_of_one_feature_is_an_alert_of_that_feature_alone() -> None:
    now = cohort(1)
    moved = with_values(now, RATE, now.values[:, RATE] + 0.8)
    assert alerts(cohort(0), moved) == {("psi", "absence_rate_4wk"), ("ks", "absence_rate_4wk")}


def test_a_count_that_becomes_frequent_is_an_alert() -> None:
    now = cohort(1)
    moved = with_values(now, COUNT, np.random.default_rng(5).poisson(0.9, len(now.student)))
    assert ("psi", "odr_count_wk") in alerts(cohort(0), moved)


def test_a_feature_that_goes_missing_is_an_alert_and_one_that_comes_back_is_none() -> None:
    before, now = cohort(0), cohort(1)
    gone = now.values[:, RATE].copy()
    gone[now.student % 5 == 0] = np.nan
    assert ("missing", "absence_rate_4wk") in alerts(before, with_values(now, RATE, gone))
    assert alerts(with_values(now, RATE, gone), before) == set()


def test_other_weeks_of_the_year_are_not_compared() -> None:
    before = cohort(0, weeks=(1, 2, 30, 31))
    late = cohort(1, weeks=(30, 31, 39, 40))
    assert alerts(before, late) == set()
    assert alerts(Cohort(before.student, np.full_like(before.week_of_year, 30), before.values), late) != set()


def test_weeks_count_as_they_are_frequent_now() -> None:
    before = cohort(0, weeks=(30, 33))
    mostly_late = Cohort.joined([cohort(1, weeks=(33,)), cohort(2, students=100, weeks=(30,), first=600)])
    assert alerts(before, mostly_late) == set()


def test_a_large_figure_of_few_students_is_no_alert_and_fewer_still_are_not_told() -> None:
    figures = feature_drift(cohort(0), cohort(1, students=150), reference_days=LONG, policy=POLICY.drift)
    assert all(figure.value is None and figure.note for figure in figures)
    lenient = POLICY.drift.model_copy(update={"min_students": 50, "psi_above": 0.001})
    assert not any(
        figure.is_alert
        for figure in feature_drift(cohort(0), cohort(1, students=60), reference_days=LONG, policy=lenient)
    )


def test_an_index_without_a_distance_is_no_alert() -> None:
    before, now = cohort(0, students=3000), cohort(1, students=3000)
    # Shares of sixteen items last year, of nineteen this year: other values, the same children.
    old = np.rint(16 * np.random.default_rng(2).random(len(before.student))) / 16
    new = np.rint(19 * np.random.default_rng(3).random(len(now.student))) / 19
    sides = with_values(before, RATE, old), with_values(now, RATE, new)

    def found(**changes) -> set[str]:
        policy = POLICY.drift.model_copy(update={"psi_above": 0.02, **changes})
        figures = feature_drift(*sides, reference_days=LONG, policy=policy)
        return {figure.subject for figure in figures if figure.is_alert}

    assert found(psi_needs_ks=0.0) == {"absence_rate_4wk"}
    assert found() == set()


def test_what_the_policy_excepts_is_told_only_and_may_still_go_missing() -> None:
    column = FEATURE_INDEX["missing_assignment_rate_4wk"]
    now = cohort(1)
    assert alerts(cohort(0), with_values(now, column, now.values[:, column] + 2)) == set()
    gone = now.values[:, column].copy()
    gone[now.student % 4 == 0] = np.nan
    assert alerts(cohort(0), with_values(now, column, gone)) == {("missing", "missing_assignment_rate_4wk")}


def test_what_counts_earlier_years_is_judged_only_beside_a_long_history() -> None:
    column = FEATURE_INDEX["credits_earned_ratio"]
    now = cohort(1)
    moved = with_values(now, column, now.values[:, column] + 1.0)
    assert ("psi", "credits_earned_ratio") in alerts(cohort(0), moved)
    short = feature_drift(cohort(0), moved, reference_days=300, policy=POLICY.drift)
    assert not [figure for figure in short if figure.is_alert]
    (told,) = [figure for figure in short if (figure.kind, figure.subject) == ("psi", "credits_earned_ratio")]
    assert told.value is not None
    assert told.note is not None


def test_nothing_to_compare_is_said() -> None:
    figures = feature_drift(cohort(0, weeks=(1, 2)), cohort(1), reference_days=LONG, policy=POLICY.drift)
    assert {figure.value for figure in figures} == {None}


def test_scores_that_rise_are_an_alert_with_their_means() -> None:
    def scores(of: Cohort, column: int) -> Cohort:
        risk = 1 / (1 + np.exp(-of.values[:, [column, column + 1]]))
        return Cohort(of.student, of.week_of_year, risk)

    before, now = scores(cohort(0), 0), scores(cohort(1), 0)
    raised = Cohort(now.student, now.week_of_year, np.clip(now.values + 0.2, 0, 1))
    tasks = ("risk_score", "risk_60plus")
    assert not any(figure.is_alert for figure in score_drift(before, now, tasks=tasks, policy=POLICY.drift))
    found = {
        (figure.kind, figure.subject): figure
        for figure in score_drift(before, raised, tasks=tasks, policy=POLICY.drift)
    }
    assert found["score_psi", "risk_score"].is_alert
    mean = found["score_mean", "risk_60plus"]
    assert mean.value == pytest.approx(raised.values[:, 1].mean())
    assert mean.reference == pytest.approx(before.values[:, 1].mean())
