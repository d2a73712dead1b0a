"""Half of the features as a good pandas author writes them: joins, group-bys and running sums, no loop over students.

Exact under late and corrected records, as ours are. A fact counts in a window from one row of the student to another:
its amount is added at the first and taken back at the last, and a running sum gives every row at once.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.tables import ATTENDANCE_STATUSES
from features.options import FOUR_POINT_SCALE
from tests.benchmarks.pandas_steps import Facts, Steps, enrolled_days, event_frame

SUBSET: Final = (
    "absence_rate_wk",
    "absence_rate_4wk",
    "absence_rate_ytd",
    "chronic_absence_tier",
    "absence_rate_change",
    "unexcused_absence_rate_4wk",
    "unexcused_share_ytd",
    "tardy_rate_4wk",
    "partial_day_absence_rate_4wk",
    "mon_fri_prebreak_absence_share_ytd",
    "absence_rate_prior_year",
    "gpa_cumulative",
    "missing_assignment_rate_4wk",
    "late_submission_rate_4wk",
    "assignment_score_sd_8wk",
    "odr_count_wk",
    "odr_count_8wk",
    "odr_count_ytd",
    "odr_rate_change_8wk",
    "objective_incident_count_ytd",
    "major_incident_count_8wk",
)
"""What the rivals compute: the features that joins, sums and windows express well. Ours computes all 42."""

_ABSENT: Final = ("absent_excused", "absent_unexcused", "suspended_out")


def pandas_features(records: RecordSet, *, through_week: int) -> pd.DataFrame:
    """The subset, one row per student and week, indexed by student and week."""
    days = enrolled_days(records, through_week)
    steps = Steps(days)
    columns = {
        **_attendance(records, days, steps),
        **_course_work(records, steps),
        **_transcript(records, steps),
        **_discipline(records, steps),
    }
    index = pd.MultiIndex.from_frame(steps.frame[["student", "week"]])
    return pd.DataFrame({name: np.asarray(columns[name]) for name in SUBSET}, index=index)


def _share(amount: Any, of: Any, *, where: Any = True) -> np.ndarray:
    amount, of = np.asarray(amount, dtype=float), np.asarray(of, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(where & (of > 0.5e-6), amount / of, np.nan)


def _attendance(records: RecordSet, days: pd.DataFrame, steps: Steps) -> dict[str, Any]:
    events = steps.versions(event_frame(records.attendance)).merge(
        days[["student", "day", "row", "special"]], on=["student", "day"]
    )
    events["start"] = np.maximum(events["row"], events["known"])
    events = events[events["start"] < events["stop"]]
    status = events["status"].map(dict(enumerate(ATTENDANCE_STATUSES)))
    is_absent = status.isin(_ABSENT)
    absence = np.where(is_absent, events["fraction_absent"].fillna(1.0).round(3).astype("float64"), 0.0)
    by_period = ~is_absent & (events["periods_scheduled"] > 0) & events["periods_absent"].notna()
    facts = Facts(steps, *(events[name].to_numpy() for name in ("row", "start", "stop")))
    absent, unexcused = {"absent": absence}, {"unexcused": absence * (status == "absent_unexcused").to_numpy()}
    first_known = events.groupby("row")["start"].min()
    student = steps.frame["student"].iloc[first_known.index]
    taken = Facts(steps, first_known.index.to_numpy(), first_known.to_numpy(), steps.end(student))
    taken_days = {"days": steps.frame["n_days"].to_numpy()[first_known.index]}
    four = facts.window(
        {
            **absent,
            **unexcused,
            "tardy": status == "tardy",
            "present": ~is_absent,
            "periods_absent": events["periods_absent"].where(by_period, 0.0),
            "periods": events["periods_scheduled"].where(by_period, 0.0),
        },
        0,
        3,
    ).join(taken.window(taken_days, 0, 3))
    before = facts.window(absent, 4, 11).join(taken.window(taken_days, 4, 11))
    year = facts.year_to_date({**absent, **unexcused, "special": absence * events["special"].to_numpy()}).join(
        taken.year_to_date(taken_days)
    )
    prior = facts.prior_year(absent).join(taken.prior_year(taken_days))
    week = facts.window(absent, 0, 0).join(taken.window(taken_days, 0, 0))
    return _attendance_columns(steps.frame, records, week=week, four=four, before=before, year=year, prior=prior)


def _attendance_columns(
    frame: pd.DataFrame,
    records: RecordSet,
    *,
    week: pd.DataFrame,
    four: pd.DataFrame,
    before: pd.DataFrame,
    year: pd.DataFrame,
    prior: pd.DataFrame,
) -> dict[str, Any]:
    taken = year["days"] > 0
    rate = _share(year["absent"], year["days"])
    tier = sum((rate >= line - 1e-9).astype(float) for line in (0.05, 0.1, 0.2))
    so_far = frame.groupby(["student", "year"])[["n_special", "n_days"]].cumsum()
    expected = so_far["n_special"] / so_far["n_days"]
    change = _share(four["absent"], four["days"]) - _share(before["absent"], before["days"])
    records_tardies = records.calendars.records_tardies[frame["school"]]
    return {
        "absence_rate_wk": _share(week["absent"], frame["n_days"], where=week["days"] > 0),
        "absence_rate_4wk": _share(four["absent"], four["days"]),
        "absence_rate_ytd": rate,
        "chronic_absence_tier": np.where(year["days"] >= 10, tier, np.nan),
        "absence_rate_change": np.where(frame["into_year"] >= 5, change, np.nan),
        "unexcused_absence_rate_4wk": _share(four["unexcused"], four["days"]),
        "unexcused_share_ytd": _share(year["unexcused"] + 1, year["absent"] + 2, where=taken),
        "tardy_rate_4wk": _share(four["tardy"], four["present"], where=records_tardies),
        "partial_day_absence_rate_4wk": _share(four["periods_absent"], four["periods"]),
        "mon_fri_prebreak_absence_share_ytd": _share(
            year["special"] + 4 * expected.to_numpy(), year["absent"] + 4, where=taken
        ),
        "absence_rate_prior_year": _share(prior["absent"], prior["days"]),
    }


def _course_work(records: RecordSet, steps: Steps) -> dict[str, Any]:
    items = steps.versions(event_frame(records.grades))
    end = steps.end(items["student"])
    items["submitted"] = steps.row_at(items["student"], items["submitted_day"])
    items["posted"] = np.where(items["score_pct"].notna(), steps.row_at(items["student"], items["posted_day"]), end)
    positive = items["score_pct"] > 0
    handed_in = np.minimum(items["submitted"], np.where(positive, items["posted"], end))
    due = items[steps.begins_before(items["student"], items["due_day"])]
    row = steps.row_at(due["student"], due["due_day"])
    keep = row < steps.end(due["student"])
    due, row = due[keep], row[keep]
    start = np.maximum(row, due["known"].to_numpy())
    stop = due["stop"].to_numpy()
    one = np.ones(len(due))
    items_due = Facts(steps, row, start, stop).window({"n": one}, 0, 3)["n"]
    missing = Facts(steps, row, start, np.minimum(stop, handed_in[due.index])).window({"n": one}, 0, 3)["n"]
    late = due["submitted_day"] > due["due_day"]
    submitted = Facts(steps, row, np.maximum(start, due["submitted"].to_numpy()), stop).window(
        {"n": one, "late": late}, 0, 3
    )
    return {
        "missing_assignment_rate_4wk": _share(missing, items_due, where=items_due >= 3),
        "late_submission_rate_4wk": _share(submitted["late"], submitted["n"], where=submitted["n"] >= 3),
        "assignment_score_sd_8wk": _score_deviation(items, steps),
    }


def _score_deviation(items: pd.DataFrame, steps: Steps) -> np.ndarray:
    inside = steps.begins_before(items["student"], items["posted_day"]) & (
        items["posted"].to_numpy() < steps.end(items["student"])
    )
    scored = items[inside & items["score_pct"].notna()]
    row = scored["posted"].to_numpy()
    start = np.maximum(row, scored["known"].to_numpy())
    start = np.where(scored["score_pct"] > 0, start, np.maximum(start, scored["submitted"].to_numpy()))
    score = scored["score_pct"].astype("float64")
    sums = Facts(steps, row, start, scored["stop"].to_numpy()).window(
        {"n": np.ones(len(scored)), "sum": score, "square": score**2}, 0, 7
    )
    variance = _share(sums["square"], sums["n"]) - _share(sums["sum"], sums["n"]) ** 2
    return np.where(sums["n"] >= 4, np.sqrt(np.maximum(variance, 0.0)), np.nan)


def _transcript(records: RecordSet, steps: Steps) -> dict[str, Any]:
    results = steps.versions(event_frame(records.transcript))
    results = results[results["final_pct"].notna() & (results["credits_attempted"] > 0)]
    start = np.maximum(results["known"].to_numpy(), steps.row_at(results["student"], results["posted_day"]))
    points = _grade_points(results["final_pct"])
    credit = results["credits_attempted"].astype("float64")
    facts = Facts(steps, start, start, results["stop"].to_numpy())
    sums = facts.between({"points": points * credit, "credit": credit}, facts.start, facts.stop)
    return {"gpa_cumulative": _share(sums["points"], sums["credit"])}


def _grade_points(percent: pd.Series) -> np.ndarray:
    lines: Sequence[float] = [line for line, _ in reversed(FOUR_POINT_SCALE)]
    points = np.array([0.0, *(value for _, value in reversed(FOUR_POINT_SCALE))])
    return points[np.searchsorted(lines, percent.astype("float64").round(3), side="right")]


def _discipline(records: RecordSet, steps: Steps) -> dict[str, Any]:
    incidents = steps.versions(event_frame(records.discipline))
    incidents = incidents[steps.begins_before(incidents["student"], incidents["day"])]
    row = steps.row_at(incidents["student"], incidents["day"])
    keep = row < steps.end(incidents["student"])
    incidents, row = incidents[keep], row[keep]
    facts = Facts(steps, row, np.maximum(row, incidents["known"].to_numpy()), incidents["stop"].to_numpy())
    one = np.ones(len(incidents))
    eight = facts.window({"n": one, "major": incidents["is_major"]}, 0, 7)
    year = facts.year_to_date({"n": one, "objective": incidents["is_objective"]})
    week = facts.window({"n": one}, 0, 0)["n"]
    frame = steps.frame
    run = frame.groupby(["student", "year"])["reported"]
    reported = run.rolling(4, min_periods=1).max().to_numpy() > 0
    known = reported | (facts.window({"n": one}, 0, 3)["n"] > 0).to_numpy()
    change = (eight["n"] - facts.window({"n": one}, 8, 15)["n"]) / 8
    return {
        "odr_count_wk": np.where(known & (frame["reported"] | (week > 0)), week, np.nan),
        "odr_count_8wk": np.where(known, eight["n"], np.nan),
        "odr_count_ytd": np.where(known, year["n"], np.nan),
        "odr_rate_change_8wk": np.where(known & (frame["into_year"] >= 9), change, np.nan),
        "objective_incident_count_ytd": np.where(known, year["objective"], np.nan),
        "major_incident_count_8wk": np.where(known, eight["major"], np.nan),
    }
