"""Sentences for counselors: the value, the comparison with the typical student, and the window.

A sentence states what the records show, never a verdict or a cause, and is only made where the value is known and
differs from the typical one in the direction the model claims.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FEATURES, SUPPORT_INDEX, FeatureColumn

DISCIPLINE_NOTE: Final = "Referrals reflect adults' decisions as well as students' behaviour."


@dataclass(frozen=True)
class Phrase:
    """How one feature is worded. `worse` is +1 if more of it is the concerning direction, else -1. `show` turns a
    value and its denominator (NaN if the feature has none) into words.
    """

    template: str
    worse: int
    show: Callable[[float, float], str]


def _count(unit: str) -> Callable[[float, float], str]:
    def show(value: float, _: float) -> str:
        whole = round(value) if abs(value - round(value)) < 0.05 else round(value, 1)
        return f"{whole:g} {unit}{'' if whole == 1 else 's'}"

    return show


def _number(digits: int) -> Callable[[float, float], str]:
    return lambda value, _: f"{value:.{digits}f}"


def _signed(digits: int) -> Callable[[float, float], str]:
    return lambda value, _: f"{value:+.{digits}f}"


def _percent(value: float, _: float) -> str:
    return f"{value:.0%}"


def _of_n(unit: str) -> Callable[[float, float], str]:
    def show(value: float, n: float) -> str:
        if math.isnan(n) or n < 1:
            return f"{value:.0%}"
        return f"{round(value * n):g} of {round(n):g} {unit}s"

    return show


def _points(value: float, _: float) -> str:
    return f"{100 * value:+.0f} percentage points"


_TIERS: Final = ("under 5 %", "5 to 10 %", "10 to 20 %", "20 % or more")


def _tier(value: float, _: float) -> str:
    return _TIERS[min(max(round(value), 0), 3)]


def _recency(value: float, _: float) -> str:
    if value <= 0.02:
        return "none for half a year"
    weeks = max(0, round(-8 * math.log(value)))
    return "in the last school week" if weeks == 0 else f"{weeks} school week{'' if weeks == 1 else 's'} ago"


PHRASES: Final[dict[str, Phrase]] = {
    "absence_rate_wk": Phrase("Absent {value} of the days of the last school week", 1, _percent),
    "absence_rate_4wk": Phrase("Missed {value} in the last 4 school weeks", 1, _of_n("day")),
    "absence_rate_ytd": Phrase("Missed {value} this school year", 1, _of_n("day")),
    "chronic_absence_tier": Phrase("Days missed this school year: {value}", 1, _tier),
    "absence_rate_change": Phrase("Absence against the 8 weeks before: {value}", 1, _points),
    "absence_trend_8wk": Phrase("Absence over the last 8 school weeks: {value} a week", 1, _points),
    "unexcused_absence_rate_4wk": Phrase("Unexcused: {value} in the last 4 school weeks", 1, _of_n("day")),
    "unexcused_share_ytd": Phrase("Share of this year's absences without excuse: {value}", 1, _percent),
    "absence_streak_current": Phrase(
        "Absent for {value} in a row at the end of the last school week", 1, _count("day")
    ),
    "absence_streak_max_ytd": Phrase("Longest absence this school year: {value}", 1, _count("day")),
    "tardy_rate_4wk": Phrase("Late on {value} present in the last 4 school weeks", 1, _of_n("day")),
    "partial_day_absence_rate_4wk": Phrase(
        "Class periods missed on days present, last 4 school weeks: {value}", 1, _percent
    ),
    "mon_fri_prebreak_absence_share_ytd": Phrase(
        "Absences that fall on Mondays, Fridays or before a break: {value}", 1, _percent
    ),
    "absence_rate_prior_year": Phrase("Missed {value} of last school year", 1, _percent),
    "gpa_current_term": Phrase("GPA this term: {value}", -1, _number(1)),
    "gpa_cumulative": Phrase("Cumulative GPA: {value}", -1, _number(1)),
    "gpa_change_vs_prior_term": Phrase("GPA against last term: {value}", -1, _signed(1)),
    "course_avg_trend_8wk": Phrase(
        "Course averages over the last 8 school weeks: {value} points a week", -1, _signed(1)
    ),
    "courses_failing_count": Phrase("Failing {value}", 1, _count("course")),
    "core_courses_failing_count": Phrase("Failing {value}", 1, _count("core course")),
    "math_course_avg": Phrase("Mathematics average: {value} %", -1, _number(0)),
    "ela_course_avg": Phrase("English average: {value} %", -1, _number(0)),
    "missing_assignment_rate_4wk": Phrase("Not handed in: {value} due in the last 4 school weeks", 1, _of_n("task")),
    "late_submission_rate_4wk": Phrase("Handed in late, last 4 school weeks: {value}", 1, _percent),
    "assignment_score_mean_4wk": Phrase(
        "Mean score of work marked in the last 4 school weeks: {value} %", -1, _number(0)
    ),
    "assignment_score_sd_8wk": Phrase("Spread of scores over the last 8 school weeks: {value} points", 1, _number(0)),
    "credits_earned_ratio": Phrase("Credits earned of those expected by now: {value}", -1, _percent),
    "core_semester_f_count": Phrase("Core courses failed in closed terms: {value}", 1, _number(0)),
    "weeks_since_last_submission": Phrase("Last work handed in: {value} ago", 1, _count("school week")),
    "odr_count_wk": Phrase("Office discipline referrals in the last school week: {value}", 1, _number(0)),
    "odr_count_8wk": Phrase("Office discipline referrals in the last 8 school weeks: {value}", 1, _number(0)),
    "odr_count_ytd": Phrase("Office discipline referrals this school year: {value}", 1, _number(0)),
    "odr_rate_change_8wk": Phrase("Referrals a week against the 8 weeks before: {value}", 1, _signed(1)),
    "objective_incident_count_ytd": Phrase(
        "Incidents with objective behaviour codes this school year: {value}", 1, _number(0)
    ),
    "major_incident_count_8wk": Phrase("Major incidents in the last 8 school weeks: {value}", 1, _number(0)),
    "severity_max_8wk": Phrase("Most severe incident in the last 8 school weeks: level {value} of 5", 1, _number(0)),
    "severity_ewma": Phrase("Weight of incidents, recent ones counting more: {value}", 1, _number(0)),
    "iss_days_ytd": Phrase("In-school suspension this school year: {value}", 1, _count("day")),
    "oss_days_8wk": Phrase("Out-of-school suspension in the last 8 school weeks: {value}", 1, _count("day")),
    "oss_days_ytd": Phrase("Out-of-school suspension this school year: {value}", 1, _count("day")),
    "incident_recency": Phrase("Last incident: {value}", 1, _recency),
    "oss_count_prior_years": Phrase("Out-of-school suspensions in earlier years: {value}", 1, _number(0)),
}


@dataclass(frozen=True)
class Fact:
    """One feature of one student at the scored week, and the typical student's."""

    column: FeatureColumn
    value: float
    typical: float
    denominator: float


def fact_denominator(column: FeatureColumn, support: list[float]) -> float:
    """The denominator that goes with a shrunk rate, NaN for other features."""
    if column.shrink_m == 0.0 or column.support is None:
        return math.nan
    return support[SUPPORT_INDEX[column.support]]


def sentence(fact: Fact, *, raises_risk: bool, grade_level: int) -> str | None:
    """The sentence for a fact; None if the value is unknown, or does not differ visibly from the typical student's
    in the direction claimed.
    """
    if math.isnan(fact.value) or math.isnan(fact.typical):
        return None
    phrase = PHRASES[fact.column.name]
    is_worse = (fact.value - fact.typical) * phrase.worse > 0
    shown, typical = (phrase.show(number, fact.denominator) for number in (fact.value, fact.typical))
    if is_worse != raises_risk or shown == typical:
        return None
    text = f"{phrase.template.format(value=shown)}; typical for grade {grade_level} at this time of year: {typical}."
    return f"{text} {DISCIPLINE_NOTE}" if fact.column.modality == "discipline" and raises_risk else text


@dataclass(frozen=True)
class WeekFacts:
    """One week of one student: raw feature values [F] and their denominators [P]."""

    values: NDArray[np.float32]
    support: NDArray[np.float32]


def changed_sentence(
    features: Sequence[int], *, then: WeekFacts, now: WeekFacts, before: str, raises_risk: bool
) -> str | None:
    """The sentence that compares a concept then and now: of the first of its `features` (positions in the contract) that
    is known in both weeks and visibly moved in the direction claimed. None where no feature did. `before` says which
    moment it is compared with.
    """
    for position in features:
        column = FEATURES[position]
        phrase = PHRASES[column.name]
        values = float(then.values[position]), float(now.values[position])
        shown = [
            phrase.show(value, fact_denominator(column, week.support.tolist())) if not math.isnan(value) else None
            for value, week in zip(values, (then, now), strict=True)
        ]
        is_worse = (values[1] - values[0]) * phrase.worse > 0
        if None in shown or shown[0] == shown[1] or is_worse != raises_risk:
            continue
        text = f"{phrase.template.format(value=shown[1])}; {before}: {shown[0]}."
        return f"{text} {DISCIPLINE_NOTE}" if column.modality == "discipline" and raises_risk else text
    return None
