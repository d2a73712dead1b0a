"""Schools and the people who pass through them, with the traits that nobody records."""

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.weeks import day_number
from edupulse_ml.simulation.calibration import ATTENDANCE, ENGAGEMENT, HAZARD, MOVEMENT
from edupulse_ml.simulation.settings import DistrictPlan

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

RACES: Final = ("white", "hispanic", "black", "asian", "two_or_more", "american_indian")
_SUBJECTIVE_REPORTING: Final = np.array([0.85, 1.05, 1.85, 0.45, 1.15, 1.3])
_OBJECTIVE_REPORTING: Final = np.array([0.95, 1.0, 1.2, 0.7, 1.0, 1.05])
_SANCTION: Final = np.array([0.80, 1.05, 1.45, 0.60, 1.1, 1.2])
_GRADE_SHARES: Final = (0.272, 0.255, 0.240, 0.233)
_NEW_NINTH_SHARE: Final = 0.25
FIRST_GRADE: Final = 9
LAST_GRADE: Final = 12
_ID_SPACE: Final = 90_000_000
_ID_STEP: Final = 37_654_321
"""Coprime to the space, so that consecutive people get scattered, distinct numbers."""


@dataclass(frozen=True)
class Schools:
    """Traits of S schools: `climate` in standard units, `poverty` the share of poor families, `size` students."""

    climate: Float
    poverty: Float
    size: Int
    race_shares: Float
    has_periods: Bool
    records_tardies: Bool

    @property
    def n_schools(self) -> int:
        return len(self.size)


@dataclass(frozen=True)
class People:
    """N people whose first school is the same. `number` is unique in the district.

    `start_year` and `start_week` say when they first enrol (indices of simulated year and calendar week).
    `over_age` counts years above the nominal age of the first grade, `credit_deficit` credits missing at entry.
    """

    number: Int
    home_school: int
    start_year: Int
    start_week: Int
    start_grade: Int
    birth_day: Int
    over_age: Int
    credit_deficit: Float
    ability: Float
    externalising: Float
    health: Float
    frailty: Float
    engagement_level: Float
    course_effect: Float
    female: Bool
    race: Int
    english_learner: Bool
    special_education: Bool
    poor: Bool
    reporting_subjective: Float
    reporting_objective: Float
    sanction: Float

    @property
    def n_people(self) -> int:
        return len(self.number)


def build_schools(plan: DistrictPlan) -> Schools:
    """The schools of a district; the same for the same plan."""
    rng = np.random.default_rng([plan.seed, 2])
    n = plan.schools
    poverty = np.clip(rng.permutation(np.linspace(0.25, 0.75, n)) + rng.normal(0, 0.03, n), 0.1, 0.9)
    climate = 0.25 * _standardised(rng.normal(size=n)) - 0.5 * (poverty - 0.5)
    weights = 1 + 0.15 * rng.uniform(-1, 1, n)
    size = np.floor(plan.students * weights / weights.sum()).astype(np.int64)
    size[: plan.students - int(size.sum())] += 1
    low = np.array([0.62, 0.14, 0.08, 0.08, 0.06, 0.02])
    high = np.array([0.22, 0.40, 0.28, 0.02, 0.06, 0.02])
    mix = np.clip((poverty - 0.2) / 0.6, 0, 1)[:, None]
    without_periods = rng.permutation(n)[: 2 if n >= 6 else 1]
    has_periods = np.ones(n, dtype=np.bool_)
    has_periods[without_periods] = False
    records_tardies = np.ones(n, dtype=np.bool_)
    if n >= 4:
        records_tardies[int(rng.integers(n))] = False
    return Schools(climate, poverty, size, low * (1 - mix) + high * mix, has_periods, records_tardies)


def _standardised(values: Float) -> Float:
    return (values - values.mean()) / values.std()


def build_people(plan: DistrictPlan, schools: Schools, *, school: int, weeks_per_year: int) -> People:
    """Everyone whose first school in the district is `school`, over all simulated years."""
    rng = np.random.default_rng([plan.seed, 3, school])
    start_year, start_week, start_grade = _arrivals(
        rng, size=int(schools.size[school]), years=plan.simulated_years, weeks_per_year=weeks_per_year
    )
    n = len(start_year)
    poor = rng.random(n) < schools.poverty[school]
    race = np.searchsorted(np.cumsum(schools.race_shares[school])[:-1], rng.random(n))
    ability = rng.normal(size=n) - 0.25 * (poor - 0.5)
    externalising = rng.normal(size=n)
    female = rng.random(n) < 0.487
    english_learner = rng.random(n) < np.where(np.isin(race, (1, 3)), 0.25, 0.03)
    special_education = rng.random(n) < np.where(female, 0.11, 0.17)
    years_before = start_grade - FIRST_GRADE
    held_back = MOVEMENT.retained_over_age * (1 + 0.4 * years_before) * np.exp(-0.6 * ability)
    over_age = (rng.random(n) < held_back).astype(np.int64)
    level = (
        ENGAGEMENT.on_ability * ability
        + ENGAGEMENT.on_school_climate * schools.climate[school]
        + ENGAGEMENT.on_poverty * (poor - 0.5)
        + ENGAGEMENT.level_sd * rng.normal(size=n)
    )
    deficit = 0.5 * rng.poisson(np.clip(1.6 * np.exp(-0.9 * level - 0.4 * ability), 0, 6) * 0.55 * years_before)
    nominal_birth = np.array([day_number(date(plan.opening_year - 15, 9, 1))] * n)
    birth_day = (
        nominal_birth
        + np.rint(365.25 * (start_year - years_before - over_age)).astype(np.int64)
        + rng.integers(1, 365, n)
    )
    support_factor = np.where(special_education, 1.45, 1.0) * np.where(poor, 1.3, 0.85)
    return People(
        number=_numbers(schools, plan, school=school, n=n),
        home_school=school,
        start_year=start_year,
        start_week=start_week,
        start_grade=start_grade,
        birth_day=birth_day,
        over_age=over_age,
        credit_deficit=np.minimum(deficit, 2.0 * years_before),
        ability=ability,
        externalising=externalising,
        health=rng.gamma(ATTENDANCE.health_shape, 1 / ATTENDANCE.health_shape, n),
        frailty=HAZARD.frailty_sd * rng.normal(size=n),
        engagement_level=level,
        course_effect=rng.normal(size=(n, 6)),
        female=female,
        race=race,
        english_learner=english_learner,
        special_education=special_education,
        poor=poor,
        reporting_subjective=_SUBJECTIVE_REPORTING[race] * support_factor * np.where(female, 0.75, 1.25),
        reporting_objective=_OBJECTIVE_REPORTING[race] * np.where(female, 0.7, 1.3),
        sanction=_SANCTION[race] * np.where(special_education, 1.15, 1.0) * np.where(poor, 1.1, 0.9),
    )


def _arrivals(rng: np.random.Generator, *, size: int, years: int, weeks_per_year: int) -> tuple[Int, Int, Int]:
    """First year, week and grade of everyone: those there at the start, new ninth graders, transfers in."""
    grades = np.arange(FIRST_GRADE, LAST_GRADE + 1)
    counts = np.floor(size * np.array(_GRADE_SHARES)).astype(int)
    counts[0] += size - counts.sum()
    year, week, grade = [np.zeros(size, dtype=np.int64)], [np.zeros(size, dtype=np.int64)], [np.repeat(grades, counts)]
    for index in range(years):
        entering = round(size * _NEW_NINTH_SHARE) if index else 0
        year.append(np.full(entering, index))
        week.append(np.zeros(entering, dtype=np.int64))
        grade.append(np.full(entering, FIRST_GRADE))
        moving = rng.poisson(size * MOVEMENT.transfer_in)
        year.append(np.full(moving, index))
        week.append(np.where(rng.random(moving) < 0.4, 0, rng.integers(1, weeks_per_year - 6, moving)))
        grade.append(rng.choice(grades, size=moving, p=(0.3, 0.3, 0.25, 0.15)))
    return np.concatenate(year), np.concatenate(week), np.concatenate(grade).astype(np.int64)


def _numbers(schools: Schools, plan: DistrictPlan, *, school: int, n: int) -> Int:
    """District-wide numbers. Each school owns as many as it can ever need, so schools can be built one by one."""
    room = 3 * schools.size.astype(np.int64) * (plan.simulated_years + 1)
    position = int(room[:school].sum()) + np.arange(n, dtype=np.int64)
    return 10_000_000 + (position * _ID_STEP + 7 * plan.seed) % _ID_SPACE


def student_ids(people: People) -> list[str]:
    """The district's student numbers, as text."""
    return [str(number) for number in people.number]


def school_id(school: int) -> str:
    """Name of a school, by its index."""
    return f"HS{school + 1:02d}"
