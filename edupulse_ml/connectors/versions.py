"""Versions of records in memory: when each row counts as known, and which later row takes its place.

The same conventions as the store's: a row without `recorded_at` is known its table's lag after its valid date; a row
that repeats the version before it is no new version; an enrolment that is already closed in a row without
`recorded_at` was open from its entry and closed from its exit on.
"""

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.connectors.arrow_compute import pc
from edupulse_ml.connectors.schemas import ARROW_TYPES, LINE
from edupulse_ml.connectors.zones import local_days, start_of_local_days_us
from edupulse_ml.core.tables import ENROLLMENTS, Table
from edupulse_ml.core.weeks import NEVER

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]

_OPEN_ENDED: Final = np.iinfo(np.int64).max
_CLOSING_COLUMNS: Final = ("exit_date", "exit_code", "last_attended_date")


@dataclass(frozen=True)
class Versions:
    """Versions of the records of one table, one row each. `known_day` and `superseded_day` [R] are local days;
    `superseded_day` is `NEVER` for the latest version.
    """

    rows: pa.Table
    known_day: Int32
    superseded_day: Int32


def chain_versions(table: Table, rows: pa.Table, zone: ZoneInfo) -> Versions:
    """Order the rows of a bitemporal table into versions.

    Of two rows with the same natural key and `recorded_at` the first is kept.

    Args:
        table: a table with `bitemporal` set.
        rows: canonical rows of it, in any order.
        zone: the district's.
    """
    if table is ENROLLMENTS:
        rows = _opened(rows)
    recorded_us = _recorded_us(table, rows, zone)
    keys = _combined_codes(rows, table.natural_key)
    superseded_us = np.full(len(keys), _OPEN_ENDED, dtype=np.int64)
    repeated = _repeated(keys)
    if repeated.any():
        kept, superseded_us = _chain(table, rows, keys, recorded_us, repeated)
        rows, recorded_us, superseded_us = rows.take(pa.array(kept)), recorded_us[kept], superseded_us[kept]
    is_latest = superseded_us == _OPEN_ENDED
    superseded_day = np.where(is_latest, NEVER, local_days(np.where(is_latest, 0, superseded_us), zone))
    return Versions(rows, local_days(recorded_us, zone), superseded_day.astype(np.int32))


def _opened(rows: pa.Table) -> pa.Table:
    """Enrolment rows with the open version put before every row that is closed but does not say when it was."""
    closed_later = pc.greater(rows["exit_date"], rows["entry_date"]).fill_null(False)  # noqa: FBT003
    undated = pc.and_(rows["recorded_at"].is_null(), closed_later)
    before = rows.filter(undated)
    for name in _CLOSING_COLUMNS:
        at = before.schema.get_field_index(name)
        before = before.set_column(at, before.schema.field(at), pa.nulls(len(before), before.schema.field(at).type))
    return pa.concat_tables([before, rows])


def _recorded_us(table: Table, rows: pa.Table, zone: ZoneInfo) -> Int64:
    recorded = rows["recorded_at"]
    written = recorded.cast(pa.int64()).fill_null(0).to_numpy()
    if not recorded.null_count:
        return written
    usual = start_of_local_days_us(_valid_day(table, rows, zone) + table.lag_days, zone)
    return np.where(recorded.is_null().to_numpy(), usual, written)


def _valid_day(table: Table, rows: pa.Table, zone: ZoneInfo) -> Int64:
    name = table.valid_date or "recorded_at"
    values = rows[name]
    if values.type == ARROW_TYPES["moment"]:
        return local_days(values.cast(pa.int64()).fill_null(0).to_numpy(), zone).astype(np.int64)
    if table is ENROLLMENTS:
        values = pc.coalesce(rows["exit_date"], values)
    return values.cast(pa.int32()).fill_null(0).to_numpy().astype(np.int64)


def _combined_codes(rows: pa.Table, columns: tuple[str, ...]) -> Int64:
    """One number per row, equal for rows that are equal in all of `columns`."""
    combined = np.zeros(len(rows), dtype=np.int64)
    for name in columns:
        codes, count = _codes(rows[name])
        combined, _ = _codes(pa.chunked_array([pa.array(combined * count + codes)]))
    return combined


def _codes(values: pa.ChunkedArray) -> tuple[Int64, int]:
    """Codes 0..count-1 of the distinct values, missing being one of them."""
    encoded = values.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64), max(len(encoded.dictionary), 1)


def _repeated(keys: Int64) -> NDArray[np.bool_]:
    return np.bincount(keys)[keys] > 1 if len(keys) else np.zeros(0, dtype=np.bool_)


def _chain(
    table: Table, rows: pa.Table, keys: Int64, recorded_us: Int64, repeated: NDArray[np.bool_]
) -> tuple[Int64, Int64]:
    """Positions of the versions, in file order, and for every row of `rows` when the next version was recorded."""
    chosen = np.flatnonzero(repeated)
    ordered = chosen[np.lexsort((chosen, recorded_us[chosen], keys[chosen]))]
    twice = (np.diff(keys[ordered]) == 0) & (np.diff(recorded_us[ordered]) == 0)
    ordered = ordered[np.concatenate(([True], ~twice))]
    unchanged = (np.diff(keys[ordered]) == 0) & _equals_previous(table, rows.take(pa.array(ordered)))
    ordered = ordered[np.concatenate(([True], ~unchanged))]
    superseded_us = np.full(len(keys), _OPEN_ENDED, dtype=np.int64)
    has_next = np.flatnonzero(np.diff(keys[ordered]) == 0)
    superseded_us[ordered[has_next]] = recorded_us[ordered[has_next + 1]]
    kept = np.sort(np.concatenate((np.flatnonzero(~repeated), ordered)))
    return kept, superseded_us


def _equals_previous(table: Table, rows: pa.Table) -> NDArray[np.bool_]:
    """[R-1] whether row i+1 holds the same values as row i, apart from the key and from when it was recorded."""
    equal = np.ones(len(rows) - 1, dtype=np.bool_)
    for name in rows.column_names:
        if name not in (*table.natural_key, "recorded_at", LINE):
            codes, _ = _codes(rows[name])
            equal &= np.diff(codes) == 0
    return equal
