"""What is asked of the generator."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from edupulse_ml.core.errors import InvalidInputError

MIN_STUDENTS: Final = 50
STUDENTS_PER_SCHOOL: Final = 830
LAST_FULL_YEAR: Final = 2025
"""Calendar year in which the last full school year starts when nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class DistrictPlan:
    """One district of grades 9 to 12. The same plan always gives the same records, byte for byte.

    `students` are enrolled at the start of each school year. `years` full school years are written, the first one
    starting in August of `first_year`; with `through`, the next year follows, as far as it was recorded by the end of
    that day. `intervention` gives support to some of those who miss much school; `shift` raises absence from the
    third year on (sources.md 7.3, rules 7 and 8).

    Raises:
        InvalidInputError: a value is out of its range.
    """

    students: int
    years: int
    seed: int
    first_year: int | None = None
    through: date | None = None
    intervention: bool = False
    shift: bool = False

    def __post_init__(self) -> None:
        if self.students < MIN_STUDENTS:
            msg = f"A district needs at least {MIN_STUDENTS} students, {self.students} were asked for."
            raise InvalidInputError(msg)
        if not 1 <= self.years <= 12:
            msg = f"The number of school years must lie between 1 and 12, {self.years} were asked for."
            raise InvalidInputError(msg)
        if self.seed < 0:
            msg = f"The seed must be 0 or more, {self.seed} was given."
            raise InvalidInputError(msg)
        if self.first_year is not None and not 1995 <= self.first_year <= 2090:
            msg = f"The first year must lie between 1995 and 2090, {self.first_year} was given."
            raise InvalidInputError(msg)
        if self.through is not None and not date(self.year_after, 9, 1) <= self.through <= date(
            self.year_after + 1, 6, 1
        ):
            msg = (
                f"The {self.years} full years end in June {self.year_after}, so the year in progress can be written "
                f"through a day from {self.year_after}-09-01 to {self.year_after + 1}-06-01; {self.through} was given."
            )
            raise InvalidInputError(msg)

    @property
    def opening_year(self) -> int:
        """Calendar year in which the first school year starts."""
        return LAST_FULL_YEAR - self.years + 1 if self.first_year is None else self.first_year

    @property
    def year_after(self) -> int:
        """Calendar year in which the last full school year ends and the next one starts."""
        return self.opening_year + self.years

    @property
    def simulated_years(self) -> int:
        """School years that are simulated, the one in progress included."""
        return self.years + (self.through is not None)

    @property
    def schools(self) -> int:
        """High schools of the district."""
        return max(3, round(self.students / STUDENTS_PER_SCHOOL))
