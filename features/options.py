"""What a district may set about the features."""

import itertools
from dataclasses import dataclass

from edupulse_ml.core.errors import InvalidInputError

FOUR_POINT_SCALE: tuple[tuple[float, float], ...] = (
    (93.0, 4.0),
    (90.0, 3.7),
    (87.0, 3.3),
    (83.0, 3.0),
    (80.0, 2.7),
    (77.0, 2.3),
    (73.0, 2.0),
    (70.0, 1.7),
    (67.0, 1.3),
    (63.0, 1.0),
    (60.0, 0.7),
)
"""(least percentage, grade points), falling; below the last line there are 0 points."""


class InvalidFeatureOptionsError(InvalidInputError):
    """An option contradicts itself."""

    title = "Invalid feature options"


@dataclass(frozen=True)
class FeatureOptions:
    """Choices of a district that change what the features mean.

    `passing_pct` is the passing line in percent. `district_posts_zeros`: work that is past due and neither handed
    in nor scored counts as 0 % in the running course average. `credits_per_year` are the credits a student should
    earn in a school year. `objective_discipline_only` restricts D1-D4 and D6-D8 to objective behaviour codes.
    A day counts as before a break if at least `pre_break_min_weekdays` weekdays without school follow it.
    """

    passing_pct: float = 60.0
    district_posts_zeros: bool = False
    credits_per_year: float = 6.0
    grade_point_cutoffs: tuple[tuple[float, float], ...] = FOUR_POINT_SCALE
    objective_discipline_only: bool = False
    pre_break_min_weekdays: int = 2

    def __post_init__(self) -> None:
        lines = [line for line, _ in self.grade_point_cutoffs]
        if not lines or any(left <= right for left, right in itertools.pairwise(lines)):
            msg = "grade_point_cutoffs must list at least one percentage, from the highest to the lowest: reorder them."
            raise InvalidFeatureOptionsError(msg)
        if self.credits_per_year <= 0 or self.pre_break_min_weekdays < 1:
            msg = "credits_per_year must be above 0 and pre_break_min_weekdays at least 1: correct the feature options."
            raise InvalidFeatureOptionsError(msg)
