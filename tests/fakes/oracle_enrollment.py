"""Enrollment channels of the oracle: calendar position and context."""

import math

import pandas as pd

from edupulse_ml.core.weeks import NEVER, day_number
from tests.fakes.oracle_numbers import NAN
from tests.fakes.oracle_student import Cutoff, monday


class Enrollment(Cutoff):
    """Enrollment of one student, seen at one cutoff."""

    def aux(self):
        steps = self.s.steps
        gap = (self.week - steps[self.i - 1]["week"]) // 7 if self.i else 0
        first = self.s.cal.session_days(self.step["school"], self.step["year"])
        number = max((self.week - monday(first[0])) // 7, 0) + 1 if first else 1
        n_days = sum(len(steps[j]["days"]) for j in self.year)
        return [math.log1p(gap), number / 40, n_days / 180]

    def context(self):
        birthday = NAN
        if self.s.birth != NEVER:
            september = day_number(pd.Timestamp(self.step["year"], 9, 1).date())
            birthday = (september - self.s.birth) / 365.25 - (5 + self.step["grade"])
        opening = self.s.steps[self.y0]
        days = self.s.cal.session_days(opening["entry_school"], opening["year"])
        midyear = sum(d < opening["entry"] for d in days) > 20
        schools = {e["school"] for e in self.known("enrollments") if e["entry_day"] <= self.close}
        return [self.step["grade"], birthday, float(midyear), len(schools)]
