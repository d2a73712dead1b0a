"""Rules between the columns of a row, and the two values that a row may leave to be concluded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.connectors.arrow_compute import pc
from edupulse_ml.connectors.schemas import ARROW_TYPES
from edupulse_ml.connectors.zones import local_days, start_of_local_days_us
from edupulse_ml.core.feedback import OUTCOME_WORDS
from edupulse_ml.core.tables import GRADES, Table

EARLY_RECORD_DAYS: Final = 1
"""A day's attendance or incident may be recorded a day before its date (clocks and zones differ), not earlier."""


@dataclass(frozen=True)
class Contradiction:
    """Rows in which `column` contradicts another column. `rows` is boolean, one entry per row."""

    rows: NDArray[np.bool_]
    column: str
    reason: str


Check = Callable[[pa.Table, ZoneInfo], Contradiction]


def contradictions(table: Table, rows: pa.Table, zone: ZoneInfo) -> Sequence[Contradiction]:
    """What contradicts itself in canonical rows; entries may be without any row. Missing values contradict nothing."""
    return [check(rows, zone) for check in _CHECKS.get(table.name, ())]


def with_conclusions(table: Table, rows: pa.Table, zone: ZoneInfo) -> pa.Table:
    """The rows, with what follows from their other columns filled in.

    An `exit_date` without `exit_code` has the code `unknown`. A `score_pct` without `posted_at` counts as posted when
    the row was recorded, and where that is missing too, the table's lag after its due date.
    """
    if table.name == "enrollments":
        nameless = pc.and_(rows["exit_date"].is_valid(), rows["exit_code"].is_null())
        return _replace(rows, "exit_code", pc.if_else(nameless, "unknown", rows["exit_code"]))
    if table.name == "grades":
        return _with_posting(rows, zone)
    return rows


def _with_posting(rows: pa.Table, zone: ZoneInfo) -> pa.Table:
    unposted = pc.and_(rows["score_pct"].is_valid(), rows["posted_at"].is_null())
    if not pc.any(unposted).as_py():
        return rows
    due = rows["due_date"].cast(pa.int32()).fill_null(0).to_numpy()
    usual = pa.array(start_of_local_days_us(due + GRADES.lag_days, zone)).cast(pa.timestamp("us"))
    known = pc.coalesce(rows["recorded_at"], usual.cast(ARROW_TYPES["moment"]))
    return _replace(rows, "posted_at", pc.if_else(unposted, known, rows["posted_at"]))


def _replace(rows: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)


def _greater(left: str, right: str, *, column: str, reason: str) -> Check:
    """Contradiction where `left` > `right`; reported at `column`."""

    def check(rows: pa.Table, zone: ZoneInfo) -> Contradiction:
        del zone
        return Contradiction(_flags(pc.greater(rows[left], rows[right])), column, reason)

    return check


def _code_without_exit(rows: pa.Table, zone: ZoneInfo) -> Contradiction:
    del zone
    lonely = pc.and_(rows["exit_code"].is_valid(), rows["exit_date"].is_null())
    return Contradiction(_flags(lonely), "exit_code", "column 'exit_code' is given without an exit_date")


def _other_kind_of_value(rows: pa.Table, zone: ZoneInfo) -> Contradiction:
    del zone
    is_outcome = pc.equal(rows["kind"], "outcome")
    names_outcome = pc.is_in(rows["value"], value_set=pa.array(OUTCOME_WORDS))
    return Contradiction(
        _flags(pc.xor(is_outcome, names_outcome)), "value", "column 'value' is not one of the row's kind"
    )


def _outcome_with_end(rows: pa.Table, zone: ZoneInfo) -> Contradiction:
    del zone
    ended = pc.and_(pc.equal(rows["kind"], "outcome"), rows["ends_on"].is_valid())
    return Contradiction(_flags(ended), "ends_on", "column 'ends_on' is given for an outcome, which is one day")


def _recorded_early(valid_date: str) -> Check:
    """Contradiction where a row was recorded well before the day it speaks of."""

    def check(rows: pa.Table, zone: ZoneInfo) -> Contradiction:
        recorded = rows["recorded_at"]
        reason = f"column 'recorded_at' is more than a day before {valid_date}"
        if recorded.null_count == len(recorded):
            return Contradiction(np.zeros(len(recorded), dtype=np.bool_), "recorded_at", reason)
        recorded_day = local_days(recorded.cast(pa.int64()).fill_null(0).to_numpy(), zone)
        valid_day = rows[valid_date].cast(pa.int32()).fill_null(0).to_numpy()
        both = pc.and_(recorded.is_valid(), rows[valid_date].is_valid()).to_numpy()
        return Contradiction(both & (recorded_day < valid_day - EARLY_RECORD_DAYS), "recorded_at", reason)

    return check


def _flags(flags: pa.ChunkedArray) -> NDArray[np.bool_]:
    return flags.fill_null(False).to_numpy()  # noqa: FBT003


_CHECKS: Final[Mapping[str, Sequence[Check]]] = {
    "enrollments": (
        _greater("entry_date", "exit_date", column="exit_date", reason="column 'exit_date' is before entry_date"),
        _code_without_exit,
        _greater(
            "entry_date",
            "last_attended_date",
            column="last_attended_date",
            reason="column 'last_attended_date' is before entry_date",
        ),
        _greater(
            "last_attended_date",
            "exit_date",
            column="last_attended_date",
            reason="column 'last_attended_date' is after exit_date",
        ),
    ),
    "attendance_records": (
        _greater(
            "periods_absent",
            "periods_scheduled",
            column="periods_absent",
            reason="column 'periods_absent' is more than periods_scheduled",
        ),
        _recorded_early("date"),
    ),
    "discipline_incidents": (
        _greater(
            "incident_date",
            "action_start",
            column="action_start",
            reason="column 'action_start' is before incident_date",
        ),
        _recorded_early("incident_date"),
    ),
    "feedback": (
        _other_kind_of_value,
        _outcome_with_end,
        _greater("starts_on", "ends_on", column="ends_on", reason="column 'ends_on' is before starts_on"),
        _recorded_early("starts_on"),
    ),
}
