"""The demonstration asks for school years that can be trained on, whatever the day."""

from datetime import date, timedelta

import pytest

from edupulse_ml.simulation.settings import DistrictPlan
from jobs.demo import school_years


@pytest.mark.parametrize("day", [date(2026, 1, 1) + timedelta(days=n) for n in range(0, 366, 5)], ids=str)
def test_three_settled_years_whatever_the_day(day: date) -> None:
    first_year, years, through = school_years(day)
    plan = DistrictPlan(students=1000, years=years, seed=1, first_year=first_year, through=through)
    last_day_written = through or date(first_year + years, 6, 30)
    assert last_day_written <= day
    settled = [year for year in range(first_year, first_year + years) if date(year + 1, 10, 1) <= day]
    assert len(settled) == 3
    assert plan.opening_year == first_year
