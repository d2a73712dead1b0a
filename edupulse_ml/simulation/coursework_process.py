"""Items due, handed in or not, and scored; and the marks at the end of a term."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.simulation.calibration import COURSEWORK
from edupulse_ml.simulation.engagement import probability
from edupulse_ml.simulation.population import People
from edupulse_ml.simulation.school_calendar import DistrictCalendar
from edupulse_ml.simulation.trajectories import N_COURSES

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]
Bool = NDArray[np.bool_]

NEVER_SUBMITTED: Final = -128
_MIN_ITEMS_FOR_A_MARK = 3.0
_CATEGORY_WEIGHTS: Final = np.array([3.0, 2.0, 1.0, 1.0, 2.0, 4.0])
CATEGORIES: Final = ("test", "quiz", "homework", "classwork", "project", "exam")
_CATEGORY_SHARES: Final = (0.12, 0.18, 0.40, 0.22, 0.08)
_EXAM = 5


@dataclass(frozen=True)
class Syllabus:
    """What each school's courses ask for: [S, T, C]. `due_weekday` -1 where a course has nothing due that week."""

    due_weekday: Int8
    category: Int8

    @property
    def weight(self) -> Float:
        """[S, T, C] points of each item."""
        return _CATEGORY_WEIGHTS[self.category]


def build_syllabus(calendar: DistrictCalendar, *, seed: int) -> Syllabus:
    """The district's syllabus; the same for the same seed. Items fall on days of school only."""
    rng = np.random.default_rng([seed, 4])
    due, category = [], []
    for year in calendar.years:
        schools, weeks, _ = year.is_instructional.shape
        shape = (schools, weeks, N_COURSES)
        weekday = rng.integers(0, 5, shape)
        exists = rng.random(shape) < COURSEWORK.item_chance
        kind = rng.choice(_EXAM, size=shape, p=_CATEGORY_SHARES)
        for last in (year.second_term_week - 1, year.n_weeks - 1):
            kind[:, last], exists[:, last], weekday[:, last] = _EXAM, True, 2
        exists &= np.take_along_axis(year.is_instructional, weekday, axis=2)
        due.append(np.where(exists, weekday, -1).astype(np.int8))
        category.append(kind.astype(np.int8))
    return Syllabus(np.concatenate(due, axis=1), np.concatenate(category, axis=1))


@dataclass
class TermMarks:
    """Running sums of one term: [N, C] each."""

    points: Float
    weight: Float
    missing_weight: Float
    items: Float

    @staticmethod
    def empty(n: int) -> "TermMarks":
        return TermMarks(*(np.zeros((n, N_COURSES)) for _ in range(4)))

    def add(self, *, score: Float, weight: Float, due: Bool) -> None:
        """Count one week's items; a NaN score where `due` is a missing item."""
        missing = due & np.isnan(score)
        scored = due & ~missing
        self.points += np.where(scored, np.nan_to_num(score) * weight, 0.0)
        self.weight += weight * due
        self.missing_weight += weight * missing
        self.items += due

    def final_pct(self) -> Float:
        """[N, C] marks, NaN with too few items. Missing work counts as a low score, not as nothing."""
        earned = self.points + COURSEWORK.missing_counts_as * self.missing_weight
        mark = np.rint(earned / np.maximum(self.weight, 1.0))
        return np.where(self.items >= _MIN_ITEMS_FOR_A_MARK, np.clip(mark, 0, 100), np.nan)


def hand_in(
    rng: np.random.Generator,
    people: People,
    *,
    engagement: Float,
    days_absent: Float,
    due: Bool,
    attending: Bool,
) -> tuple[Float, Int8]:
    """Scores [N, C] (NaN: not handed in) and days from due date to submission (`NEVER_SUBMITTED`) of one week."""
    shape = due.shape
    engaged = engagement[:, None]
    missing_logit = (
        COURSEWORK.missing_base
        + COURSEWORK.missing_on_engagement * engaged
        - COURSEWORK.missing_course_sd * people.course_effect
        + COURSEWORK.missing_when_absent * np.minimum(days_absent, 4)[:, None] / 2
    )
    handed_in = due & attending[:, None] & (rng.random(shape) >= probability(missing_logit))
    late = rng.random(shape) < probability(COURSEWORK.late_base + COURSEWORK.late_on_engagement * engaged)
    days_after = np.where(late, rng.integers(1, 8, shape), -rng.integers(0, 2, shape))
    score = (
        COURSEWORK.base
        + COURSEWORK.on_ability * people.ability[:, None]
        + COURSEWORK.on_engagement * np.clip(engaged, -4, 2.5)
        + COURSEWORK.course_sd * people.course_effect
        + COURSEWORK.noise_sd * rng.normal(size=shape)
        - COURSEWORK.late_penalty * late
    )
    score = np.where(handed_in, np.rint(np.clip(score, 0, 100)), np.nan)
    return score, np.where(handed_in, days_after, NEVER_SUBMITTED).astype(np.int8)
