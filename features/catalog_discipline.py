"""Catalogue entries D1 to D13."""

from typing import Final

from features.catalog_entry import CatalogEntry

_MASKED = "discipline mask is false"
_SERVED = (
    "A sanction is served on the student's days of school from its first day on (the incident's day if unknown), for "
    "its number of days (one if unknown)."
)

DISCIPLINE: Final = (
    CatalogEntry(
        "D1",
        "odr_count_wk",
        "Incidents of the week.",
        "incidents",
        0,
        None,
        "the school reported no discipline that week and no incident is known",
        "the B of ABC",
    ),
    CatalogEntry(
        "D2",
        "odr_count_8wk",
        "Incidents of 8 weeks.",
        "incidents",
        0,
        None,
        _MASKED,
        "two-month rates are stabler than early year-to-date ones (McIntosh)",
    ),
    CatalogEntry(
        "D3",
        "odr_count_ytd",
        "Incidents of the year.",
        "incidents",
        0,
        None,
        _MASKED,
        "PBIS bands 0-1, 2-5, 6 and more",
    ),
    CatalogEntry(
        "D4",
        "odr_rate_change_8wk",
        "Incidents per week in the last 8 weeks minus those per week in the 8 weeks before.",
        "incidents per week",
        -50,
        50,
        "before the 10th week of the year",
        "escalation",
    ),
    CatalogEntry(
        "D5",
        "objective_incident_count_ytd",
        "Incidents of the year with objective behaviour codes (fighting, weapon, drugs or alcohol, theft, threat, "
        "vandalism).",
        "incidents",
        0,
        None,
        _MASKED,
        "subjective categories carry most of the racial disparity (Skiba 2002, 2011)",
    ),
    CatalogEntry(
        "D6",
        "major_incident_count_8wk",
        "Major incidents of 8 weeks.",
        "incidents",
        0,
        None,
        _MASKED,
        "major referrals",
    ),
    CatalogEntry(
        "D7",
        "severity_max_8wk",
        "Highest severity among the incidents of 8 weeks, 0 without any.",
        "severity",
        0,
        5,
        _MASKED,
        "severity of the worst recent event",
    ),
    CatalogEntry(
        "D8",
        "severity_ewma",
        "Sum of the severities of all incidents so far, each halved every 4 instructional weeks and once more at "
        "every start of a school year.",
        "severity",
        0,
        None,
        _MASKED,
        "load weighted by recency",
        crosses_years=True,
    ),
    CatalogEntry(
        "D9",
        "iss_days_ytd",
        "Days of in-school suspension served this year. " + _SERVED,
        "days",
        0,
        None,
        _MASKED,
        "exclusion is lost instruction",
    ),
    CatalogEntry(
        "D10",
        "oss_days_8wk",
        "Days of out-of-school suspension served in 8 weeks.",
        "days",
        0,
        None,
        _MASKED,
        "Ekstrom: sens .31, spec .90",
    ),
    CatalogEntry(
        "D11",
        "oss_days_ytd",
        "Days of out-of-school suspension served this year.",
        "days",
        0,
        None,
        _MASKED,
        "Balfanz; a mean suspension lasts 3.5 days (Losen 2015)",
    ),
    CatalogEntry(
        "D12",
        "incident_recency",
        "exp(-k / 8) with k the instructional weeks since the last incident, in any year; 0 if there was none.",
        "share",
        0,
        1,
        _MASKED,
        "time since, without a sentinel value",
        crosses_years=True,
    ),
    CatalogEntry(
        "D13",
        "oss_count_prior_years",
        "Incidents of earlier school years that were answered with out-of-school suspension, counted up to 5.",
        "incidents",
        0,
        5,
        "no step in an earlier school year (new entrants), or discipline mask is false",
        "history",
        crosses_years=True,
    ),
)
