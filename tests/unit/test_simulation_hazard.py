"""The label is drawn from a hazard of hidden states; records, features and group membership have no part in it."""

from dataclasses import replace

import numpy as np
import pytest

from edupulse_ml.simulation.district import build_district, live
from edupulse_ml.simulation.engagement import Circumstances, EngagementState, leaving_logit, probability
from edupulse_ml.simulation.population import build_people, build_schools
from edupulse_ml.simulation.settings import DistrictPlan

PLAN = DistrictPlan(students=600, years=2, seed=8)


def _people(n=300):
    return build_people(PLAN, build_schools(PLAN), school=0, weeks_per_year=42)


def _state(people, *, engagement=0.0, shock=0.0):
    n = people.n_people
    value = np.full(n, engagement)
    return EngagementState(value, value, value, np.full(n, shock), np.zeros(n, dtype=np.int64))


def _now(people, **changes):
    n = people.n_people
    plain = Circumstances(np.zeros(n), np.zeros(n, dtype=np.int64), np.full(n, 15.0), np.zeros(n, dtype=bool), 0.0)
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("state", "now", "by"),
    [
        ({"engagement": -1.0}, {}, 0.85),
        ({"engagement": 5.0}, {}, -0.85 * 1.2),
        ({"shock": 1.0}, {}, 0.7),
        ({}, {"credit_deficit": 2.0}, 1.0),
        ({}, {"credit_deficit": 9.0}, 1.5),
        ({}, {"over_age": 1}, 0.7),
        ({}, {"age_years": 16.5}, 0.75),
        ({}, {"age_years": 18.5}, 1.25),
        ({}, {"suspended_this_week": True}, 0.7),
    ],
)
def test_each_cause_moves_the_log_odds_by_its_constant(state, now, by):
    people = _people()
    base = leaving_logit(people, _state(people), _now(people))
    fills = {name: np.full(people.n_people, value) for name, value in now.items()}
    moved = leaving_logit(people, _state(people, **state), _now(people, **fills))
    np.testing.assert_allclose(moved - base, by, atol=1e-9)


def test_group_membership_and_reporting_change_no_hazard():
    people = _people()
    other = replace(
        people,
        race=(people.race + 1) % 6,
        poor=~people.poor,
        female=~people.female,
        special_education=~people.special_education,
        english_learner=~people.english_learner,
        reporting_subjective=people.reporting_subjective * 3,
        reporting_objective=people.reporting_objective * 3,
        sanction=people.sanction * 3,
        health=people.health * 10,
    )
    np.testing.assert_array_equal(
        leaving_logit(people, _state(people), _now(people)), leaving_logit(other, _state(other), _now(other))
    )


def test_leavers_are_as_many_as_the_hazard_says_and_not_chosen_by_rank():
    hazard_sum, leavers, highest = 0.0, 0, []
    for people, trajectory in live(build_district(DistrictPlan(students=4000, years=3, seed=9))):
        hidden = trajectory.hidden
        hazard_sum += float(np.nansum(hidden.hazard))
        leavers += int((hidden.leaving_kind == 1).sum())
        mean = np.nanmean(np.where(np.isnan(hidden.hazard).all(axis=1)[:, None], 0, hidden.hazard), axis=1)
        riskiest = mean >= np.quantile(mean, 0.95)
        highest.append((hidden.leaving_kind[riskiest] == 1).mean())
        assert people.n_people == len(hidden.leaving_day)
    assert abs(leavers - hazard_sum) < 4 * np.sqrt(hazard_sum)
    assert 0.2 < np.mean(highest) < 0.7


def test_support_raises_engagement_while_it_lasts_and_is_given_to_some_only():
    plan = DistrictPlan(students=1500, years=2, seed=10, intervention=True)
    without = DistrictPlan(students=1500, years=2, seed=10)
    supported, before = [], []
    for (_, helped), (_, plain) in zip(live(build_district(plan)), live(build_district(without)), strict=True):
        supported.append(helped.hidden.support_week >= 0)
        before.append(plain.hidden.support_week >= 0)
    assert 0.03 < np.concatenate(supported).mean() < 0.25
    assert not np.concatenate(before).any()


def test_the_shift_raises_absence_from_the_third_year_on():
    def absent_by_year(plan):
        absent, days = np.zeros(3), np.zeros(3)
        for _, trajectory in live(build_district(plan)):
            for year in range(3):
                status = trajectory.status[:, trajectory.year_of_week == year]
                absent[year] += np.isin(status, (1, 2, 4)).sum()
                days[year] += (status >= 0).sum()
        return absent / days

    plain = absent_by_year(DistrictPlan(students=1500, years=3, seed=11))
    shifted = absent_by_year(DistrictPlan(students=1500, years=3, seed=11, shift=True))
    np.testing.assert_allclose(shifted[:2], plain[:2])
    assert 1.5 < shifted[2] / plain[2] < 2.2


def test_probability_is_the_inverse_of_the_log_odds():
    np.testing.assert_allclose(probability(np.array([-2.0, 0.0, 2.0])), [0.1192, 0.5, 0.8808], atol=1e-4)
