"""Small canonical record tables as Arrow chunks, written out row by row."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import pyarrow as pa

from edupulse_ml.core.tables import TABLES_BY_NAME

_ARROW = {
    "text": pa.string(),
    "date": pa.date32(),
    "moment": pa.timestamp("us", tz="UTC"),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
}


def parse(kind: str, value: object) -> object:
    """Text of a date or moment as the object; everything else as it is."""
    if value is None or not isinstance(value, str):
        return value
    if kind == "date":
        return date.fromisoformat(value)
    if kind == "moment":
        return datetime.fromisoformat(value)
    return value


def chunk(table_name: str, rows: Sequence[Mapping[str, object]], *, first_line: int = 2) -> pa.Table:
    """One chunk with every canonical column (missing: null) and `line`."""
    arrays = {"line": pa.array(range(first_line, first_line + len(rows)), pa.int64())}
    for column in TABLES_BY_NAME[table_name].columns:
        values = [parse(column.kind, row.get(column.name)) for row in rows]
        arrays[column.name] = pa.array(values, _ARROW[column.kind])
    return pa.table(arrays)
