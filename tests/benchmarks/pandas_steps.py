"""Student-weeks and sums over them in pandas: what the rival's features are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd

from edupulse_ml.core.records import RecordSet

_PRE_BREAK_WEEKDAYS: Final = 2
_EPOCH: Final = np.datetime64("1970-01-01", "D")


def event_frame(events: Any) -> pd.DataFrame:
    """The columns of an event set."""
    return pd.DataFrame({f.name: getattr(events, f.name) for f in fields(events)})


def monday(day: pd.Series) -> pd.Series:
    """Monday of each day's week."""
    wide = day.astype("int64")
    return wide - (wide + 3) % 7


def _school_days(records: RecordSet) -> pd.DataFrame:
    calendars = records.calendars
    school, column = np.nonzero(calendars.is_instructional)
    days = pd.DataFrame(
        {
            "school": school,
            "day": calendars.first_day + column,
            "year": calendars.school_year[school, column],
            "reported": calendars.discipline_reported[school, column],
        }
    )
    following = days.groupby("school")["day"].shift(-1)
    date = _EPOCH + days["day"].to_numpy()
    free = np.busday_count(date + 1, _EPOCH + following.fillna(days["day"] + 9).to_numpy().astype("int64"))
    weekday = (days["day"] + 3) % 7
    days["special"] = weekday.isin([0, 4]) | (free >= _PRE_BREAK_WEEKDAYS)
    days["week"] = monday(days["day"])
    return days


def enrolled_days(records: RecordSet, through_week: int) -> pd.DataFrame:
    """One row per student and day of school, with the enrolment that the day belongs to, as known when its week closed."""
    enrollments = event_frame(records.enrollments)
    days = enrollments.merge(_school_days(records).query("week <= @through_week"), on="school")
    known = (monday(days["known_day"]) <= days["week"]) & (monday(days["superseded_day"]) > days["week"])
    days = days[known & (days["entry_day"] <= days["day"]) & (days["day"] < days["exit_day"])]
    order = ["student", "day", "entry_day", "known_day", "school", "grade_level", "exit_day"]
    return days.sort_values(order).drop_duplicates(["student", "day"], keep="last")


class Steps:
    """Student-weeks in order, and where things lie among them. The row after a student's last stands for never."""

    def __init__(self, days: pd.DataFrame) -> None:
        grouped = days.groupby(["student", "week"], sort=True)
        frame = grouped.agg(
            n_days=("day", "size"),
            n_special=("special", "sum"),
            reported=("reported", "any"),
            school=("school", "last"),
            year=("year", "last"),
        ).reset_index()
        frame["year"] = frame.groupby("student")["year"].cummax()
        run = frame.groupby(["student", "year"])
        frame["into_year"] = run.cumcount()
        frame["year_start"] = np.arange(len(frame)) - frame["into_year"]
        frame["year_stop"] = frame["year_start"] + run["week"].transform("size")
        self.frame = frame
        self._key = self._of(frame["student"], frame["week"])
        self._end = frame.groupby("student").size().cumsum()
        self._first_week = frame.groupby("student")["week"].first()
        days["row"] = self.row_at(days["student"], days["day"])

    def __len__(self) -> int:
        return len(self.frame)

    @staticmethod
    def _of(student: pd.Series, week: pd.Series) -> np.ndarray:
        return student.to_numpy().astype("int64") * 2**32 + week.to_numpy().astype("int64")

    def end(self, student: pd.Series) -> np.ndarray:
        return self._end.reindex(student).to_numpy()

    def row_at(self, student: pd.Series, day: pd.Series) -> np.ndarray:
        """The student's first row whose week is the week of `day` or later."""
        return np.searchsorted(self._key, self._of(student, monday(day)))

    def begins_before(self, student: pd.Series, day: pd.Series) -> np.ndarray:
        return day.to_numpy() >= self._first_week.reindex(student).to_numpy()

    @cached_property
    def prior_year_rows(self) -> pd.DataFrame:
        """Per (student, year): the rows of the school year that follows it."""
        runs = self.frame.groupby(["student", "year"]).agg(start=("year_start", "first"), stop=("year_stop", "first"))
        following = runs.reset_index()
        following["year"] -= 1
        return following.rename(columns={"start": "next_start", "stop": "next_stop"})

    def versions(self, events: pd.DataFrame) -> pd.DataFrame:
        """`events` of students with steps, with the rows between which each version is known."""
        events = events[events["student"].isin(self._end.index)].copy()
        events["known"] = self.row_at(events["student"], events["known_day"])
        events["stop"] = self.row_at(events["student"], events["superseded_day"])
        return events


@dataclass(frozen=True)
class Facts:
    """Amounts of facts about step `row`, each counting from row `start` to before row `stop`."""

    steps: Steps
    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def window(self, amounts: Mapping[str, Any], first_lag: int, last_lag: int) -> pd.DataFrame:
        """Per row, the sums over the steps `first_lag` to `last_lag` before it, inside the school year."""
        year_stop = self.steps.frame["year_stop"].to_numpy()[self.row]
        start = np.maximum(self.start, self.row + first_lag)
        return self.between(amounts, start, np.minimum(np.minimum(self.row + last_lag + 1, self.stop), year_stop))

    def year_to_date(self, amounts: Mapping[str, Any]) -> pd.DataFrame:
        year_stop = self.steps.frame["year_stop"].to_numpy()[self.row]
        return self.between(amounts, self.start, np.minimum(self.stop, year_stop))

    def prior_year(self, amounts: Mapping[str, Any]) -> pd.DataFrame:
        where = self.steps.frame[["student", "year"]].iloc[self.row].reset_index(drop=True)
        found = where.merge(self.steps.prior_year_rows, on=["student", "year"], how="left")
        has = found["next_start"].notna().to_numpy()
        start = np.maximum(self.start, found["next_start"].fillna(0).to_numpy().astype("int64"))
        stop = np.where(has, np.minimum(self.stop, found["next_stop"].fillna(0).to_numpy().astype("int64")), 0)
        return self.between(amounts, start, stop)

    def between(self, amounts: Mapping[str, Any], start: np.ndarray, stop: np.ndarray) -> pd.DataFrame:
        counts = start < stop
        added = pd.DataFrame({name: np.asarray(values)[counts] for name, values in amounts.items()}).astype("float64")
        change = pd.concat([added, -added], ignore_index=True)
        at = np.concatenate([start[counts], stop[counts]])
        return change.groupby(at).sum().reindex(range(len(self.steps)), fill_value=0.0).cumsum()
