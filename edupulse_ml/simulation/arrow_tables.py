"""NumPy columns -> canonical Arrow tables. Moments are minutes since 1970 (UTC); negative means "has not happened"."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from edupulse_ml.core.tables import ColumnKind, Table

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

ARROW_TYPES: Final[Mapping[ColumnKind, pa.DataType]] = {
    "text": pa.string(),
    "date": pa.date32(),
    "moment": pa.timestamp("us", tz="UTC"),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
}
NOT_YET: Final = -1
_MINUTE_US: Final = 60_000_000
_DAY_MINUTES: Final = 24 * 60

# Hours at which a district between New York and Los Angeles records: on the same date in UTC and in local time.
MORNING: Final = 14 * 60
AFTERNOON: Final = 20 * 60
EVENING: Final = 22 * 60


def at(day: Int, minute: int | Int) -> Int:
    """Moments on days; a negative day gives `NOT_YET`."""
    return np.where(day >= 0, day * _DAY_MINUTES + minute, NOT_YET)


def moments(minutes: Int) -> pa.Array:
    """A moment column; negative values are null."""
    return pa.array(minutes * _MINUTE_US, mask=minutes < 0, type=pa.timestamp("us", tz="UTC"))


def dates(days: Int) -> pa.Array:
    """A date column from day numbers; negative values are null."""
    return pa.array(days.astype(np.int32), mask=days < 0, type=pa.date32())


def numbers(values: NDArray[np.floating]) -> pa.Array:
    """A number column; NaN is null."""
    wide = values.astype(np.float64)
    return pa.array(wide, mask=np.isnan(wide))


def names(codes: NDArray[np.integer], vocabulary: Sequence[str]) -> pa.Array:
    """A text column from positions in a vocabulary."""
    return pc.take(pa.array(vocabulary, type=pa.string()), pa.array(codes.astype(np.int64)))  # pyright: ignore[reportCallIssue, reportArgumentType]


def canonical(table: Table, columns: Mapping[str, pa.Array | NDArray[np.generic]]) -> pa.Table:
    """The table with all its columns in canonical order and type; columns not given are null."""
    n_rows = len(next(iter(columns.values())))
    arrays, fields = [], []
    for column in table.columns:
        kind = ARROW_TYPES[column.kind]
        values = columns.get(column.name)
        array = (
            pa.nulls(n_rows, kind) if values is None else pa.array(values) if isinstance(values, np.ndarray) else values
        )
        arrays.append(array if array.type == kind else array.cast(kind))
        fields.append(pa.field(column.name, kind))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def known_by(rows: pa.Table, *, last_day: int | None) -> pa.Table:
    """The rows recorded by the end of `last_day`; all of them where it is None."""
    if last_day is None:
        return rows
    limit = pa.scalar((last_day + 1) * _DAY_MINUTES * _MINUTE_US, type=pa.timestamp("us", tz="UTC"))
    return rows.filter(pc.call_function("less", [rows["recorded_at"], limit]))


def not_after(minutes: Int, *, last_day: int | None) -> Bool:
    """Which moments have come by the end of `last_day`."""
    if last_day is None:
        return np.ones(len(minutes), dtype=np.bool_)
    return minutes < (last_day + 1) * _DAY_MINUTES
