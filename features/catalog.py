"""The catalogue: what each of the 42 features is, in words, and the page that is made from it."""

from typing import Final

from edupulse_ml.core.contract import (
    AUX_COLUMNS,
    CONTEXT_COLUMNS,
    FEATURE_INDEX,
    FEATURES,
    SUPPORT_COLUMNS,
    FeatureColumn,
)
from features.catalog_attendance import ATTENDANCE
from features.catalog_course import COURSE
from features.catalog_discipline import DISCIPLINE
from features.catalog_entry import CatalogEntry

CATALOG: Final[tuple[CatalogEntry, ...]] = (*ATTENDANCE, *COURSE, *DISCIPLINE)
"""In the order of `contract.FEATURES`."""

ATTENDANCE_MASK: Final = "an attendance record of the last 4 instructional weeks of the school year is known"
COURSE_MASK: Final = (
    "in the last 8 instructional weeks of the school year an assignment fell due, a score was posted, or a transcript "
    "result was posted and became known"
)
DISCIPLINE_MASK: Final = (
    "on a day of school of the last 4 instructional weeks of the school year the school reported discipline, or an "
    "incident of these weeks is known"
)

_PREAMBLE: Final = f"""# Feature catalogue

Generated from `features/catalog.py` by `features.catalog.render_catalog`; a test compares the two.

One row per student and *step*. A step is an instructional week: a week with at least one day of school on which the
student was enrolled, judged by what was known of enrolments when that week closed. Holidays and summers are no steps.
Every value uses exactly the versions of records known on Sunday, 23:59:59 district time, of its week: a record that
arrives or changes later alters no earlier row.

- "4 weeks" means the last 4 steps of the student including this one, "the year" the steps of this school year.
  Windows never reach into another school year, except in features marked †.
- A day counts as a day of school if the student's school is in session and the student is enrolled. Where two
  enrolments are open, it belongs to the one entered last whose school is in session.
- Attendance on any other day is ignored. What is due, submitted, posted or happens between two steps counts at the
  next step. Records dated before the first step are ignored, except transcripts and earlier suspensions.
- Absence is the absent part of the day for the statuses `absent_excused`, `absent_unexcused` and `suspended_out`
  (whole if the part is unknown), in thousandths; a day present is one with any other status. A day without a record
  is neither. Days in denominators are those of weeks in which attendance was taken.
- A *course* is a student's course in a term with one subject and one core flag; its running average is the mean of
  its posted scores weighted by points, to the thousandth. Grade records name no credits, so courses weigh equally.
  Term ids must differ between school years. Work that is past due and neither submitted nor scored counts as 0 only in
  districts that say so (`district_posts_zeros`).
- An item is *handed in* once submitted, or once a score above 0 is posted for it; a posted 0 without a submission is
  a zero given for missing work.
- Missing is NaN, never 0. Rates are raw here; the model shrinks those marked so towards its own frozen prior.

Masks (1 = known):

- attendance: {ATTENDANCE_MASK}
- course: {COURSE_MASK}
- discipline: {DISCIPLINE_MASK}; all
  discipline features are missing where this is false
"""

_SUPPORT: Final = {
    "days_enrolled_4wk": "enrolled days of school in 4 weeks, of weeks with attendance taken; 0 if there are none",
    "days_enrolled_ytd": "the same, of the year",
    "days_present_4wk": "days with a status other than absent in 4 weeks",
    "items_due_4wk": "assignments that fell due in 4 weeks",
    "mon_fri_prebreak_expected_share": (
        "Mondays, Fridays and last days before a break of at least two weekdays, as a share of the enrolled days of "
        "school of the year (π of A13)"
    ),
}
_AUX: Final = {
    "weeks_since_prev_step_log1p": "log(1 + calendar weeks since the previous step); 0 at the first step",
    "week_of_school_year": "calendar weeks from the school's first week of the year, counted from 1, divided by 40",
    "enrolled_days_ytd": "enrolled days of school of the year, divided by 180",
}
_CONTEXT: Final = {
    "grade_level": "grade level of the enrolment",
    "over_age_years": "age on 1 September of the school year minus 5 minus the grade level; missing without birth date",
    "entered_midyear": "1 if the year's first enrolment was entered more than 20 days of school after the school began",
    "schools_attended_count": "different schools among the enrolments known so far",
}


def entry_of(name: str) -> CatalogEntry:
    """The entry of one feature.

    Raises:
        KeyError: there is no feature of that name.
    """
    return CATALOG[FEATURE_INDEX[name]]


def transform_in_words(column: FeatureColumn) -> str:
    """What the model does to the raw value before it standardises it."""
    if column.transform == "log1p":
        words = "log(1 + x)"
    elif column.transform == "minus_support":
        words = f"x − {column.support}"
    elif column.transform == "affine":
        words = f"x · {column.scale:.4g}" + (f" − {-column.offset:g}" if column.offset else "")
    else:
        words = "x"
    shrunk = f"; shrunk with {column.support} (m = {column.shrink_m:g})" if column.shrink_m else ""
    return words + shrunk


def render_catalog() -> str:
    """The text of `docs/feature-catalog.md`."""
    parts = [_PREAMBLE]
    for title, entries in (("Attendance", ATTENDANCE), ("Course performance", COURSE), ("Discipline", DISCIPLINE)):
        parts += [f"\n## {title}\n", *(_render_entry(entry) for entry in entries)]
    for title, names, words in (
        ("Support columns (denominators)", SUPPORT_COLUMNS, _SUPPORT),
        ("Step channels", AUX_COLUMNS, _AUX),
        ("Context", CONTEXT_COLUMNS, _CONTEXT),
    ):
        parts += [f"\n## {title}\n\n| name | meaning |\n| --- | --- |\n"]
        parts += [f"| `{name}` | {words[name]} |\n" for name in names]
    return "".join(parts)


def _render_entry(entry: CatalogEntry) -> str:
    bounds = f"{entry.minimum:g} to {entry.maximum:g}" if entry.maximum is not None else f"from {entry.minimum:g}"
    mark = " †" if entry.crosses_years else ""
    return (
        f"\n### {entry.number} `{entry.name}`{mark}\n\n{entry.definition}\n\n"
        f"- unit: {entry.unit}, {bounds}\n"
        f"- transform: {transform_in_words(FEATURES[FEATURE_INDEX[entry.name]])}\n"
        f"- missing: {entry.missing}\n"
        f"- evidence: {entry.evidence}\n"
    )
