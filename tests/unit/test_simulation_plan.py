"""What may be asked of the generator, its calendar and its people."""

from datetime import date, timedelta

import numpy as np
import pytest

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.weeks import day_from_number, day_number
from edupulse_ml.simulation.coursework_process import build_syllabus
from edupulse_ml.simulation.population import build_people, build_schools, student_ids
from edupulse_ml.simulation.school_calendar import build_calendar
from edupulse_ml.simulation.settings import DistrictPlan


def test_the_last_full_year_ends_in_june_2026_unless_a_first_year_is_given():
    assert DistrictPlan(students=100, years=3, seed=1).opening_year == 2023
    assert DistrictPlan(students=100, years=3, seed=1, first_year=2010).year_after == 2013


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"students": 49}, "at least 50"),
        ({"years": 0}, "between 1 and 12"),
        ({"years": 13}, "between 1 and 12"),
        ({"seed": -1}, "seed"),
        ({"first_year": 1900}, "between 1995 and 2090"),
        ({"through": date(2026, 7, 1)}, "2026-09-01 to 2027-06-01"),
        ({"through": date(2025, 11, 1)}, "2026-09-01 to 2027-06-01"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_range(wrong, said):
    with pytest.raises(InvalidInputError, match=said):
        DistrictPlan(**({"students": 100, "years": 3, "seed": 1} | wrong))


@pytest.mark.parametrize("first_year", [2016, 2019, 2022, 2023, 2024])
def test_a_school_year_has_about_36_weeks_and_no_school_on_holidays(first_year):
    calendar = build_calendar(DistrictPlan(students=3000, years=2, seed=4, first_year=first_year))
    for year in calendar.years:
        days_per_school = year.is_instructional.sum(axis=(1, 2))
        weeks_with_school = year.is_instructional.any(axis=2).sum(axis=1)
        assert ((days_per_school >= 168) & (days_per_school <= 182)).all()
        assert ((weeks_with_school >= 35) & (weeks_with_school <= 38)).all()
        assert date(year.school_year, 8, 15) <= day_from_number(year.first_day) <= date(year.school_year, 8, 25)
        assert date(year.school_year + 1, 6, 5) <= day_from_number(year.last_day) <= date(year.school_year + 1, 6, 16)
        thanksgiving = date(year.school_year, 11, 1)
        while thanksgiving.weekday() != 3:
            thanksgiving += timedelta(days=1)
        closed = [thanksgiving + timedelta(days=21), date(year.school_year, 12, 25), date(year.school_year + 1, 1, 1)]
        for day in closed:
            number = np.array([day_number(day)])
            assert not year.instructional_on(number, school=0, last_day=None).any(), day


def test_snow_closed_some_schools_for_a_whole_week_and_is_not_foreseen():
    year = build_calendar(DistrictPlan(students=5000, years=1, seed=2)).years[0]
    lost = year.planned[None] & ~year.is_instructional
    assert set(lost.any(axis=2).sum(axis=1)) == {1}
    days = np.arange(year.first_day, year.last_day + 1)
    school = int(lost.sum(axis=(1, 2)).argmax())
    foreseen = year.instructional_on(days, school=school, last_day=year.first_day)
    happened = year.instructional_on(days, school=school, last_day=None)
    assert foreseen.sum() - happened.sum() == lost[school].sum() >= 2


def test_one_school_reports_no_discipline_for_a_month_and_two_take_no_period_attendance():
    plan = DistrictPlan(students=6000, years=2, seed=3)
    silent = build_calendar(plan).silent
    assert silent.last_day - silent.first_day == 29
    assert (~build_schools(plan).has_periods).sum() == 2


def test_items_fall_on_days_of_school_only():
    calendar = build_calendar(DistrictPlan(students=3000, years=1, seed=5))
    due = build_syllabus(calendar, seed=5).due_weekday
    school, week, course = np.nonzero(due >= 0)
    assert calendar.years[0].is_instructional[school, week, due[school, week, course]].all()
    assert 0.5 < (due >= 0).mean() < 0.8


def test_people_have_distinct_numbers_across_schools_and_the_age_of_their_grade():
    plan = DistrictPlan(students=4000, years=3, seed=6)
    schools = build_schools(plan)
    assert schools.size.sum() == 4000
    everyone = [build_people(plan, schools, school=s, weeks_per_year=42) for s in range(schools.n_schools)]
    ids = [name for people in everyone for name in student_ids(people)]
    assert len(set(ids)) == len(ids)
    for people in everyone:
        opening = np.array([day_number(date(plan.opening_year + int(y), 9, 1)) for y in people.start_year])
        years_above = (opening - people.birth_day) // 365.25 - 5 - people.start_grade
        assert np.abs(years_above - people.over_age).max() <= 1
        assert (years_above == people.over_age).mean() > 0.99


def test_traits_differ_between_groups_only_where_exposure_does():
    plan = DistrictPlan(students=20_000, years=1, seed=7)
    schools = build_schools(plan)
    people = build_people(plan, schools, school=0, weeks_per_year=42)
    black, white = people.race == 2, people.race == 0
    assert people.reporting_subjective[black].mean() > 1.5 * people.reporting_subjective[white].mean()
    assert people.reporting_objective[black].mean() < 1.5 * people.reporting_objective[white].mean()
    assert abs(people.frailty[black].mean() - people.frailty[white].mean()) < 0.3
    assert abs(people.externalising[black].mean() - people.externalising[white].mean()) < 0.4
