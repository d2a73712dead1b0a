"""The Arrow types of the canonical tables, shared by every connector and by whoever loads what they yield."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from edupulse_ml.core.tables import Column, ColumnKind, Table

ARROW_TYPES: Final[Mapping[ColumnKind, pa.DataType]] = {
    "text": pa.string(),
    "date": pa.date32(),
    "moment": pa.timestamp("us", tz="UTC"),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
}
LINE: Final = "line"
"""Extra int64 column of every chunk: where the row stands in its file. In CSV the header is line 1; in Parquet and
OULAD it is the row's number, from 1."""


def canonical_schema(table: Table) -> pa.Schema:
    """The schema of a chunk: the table's columns in order, then `line`. A null is a missing value."""
    fields = [pa.field(column.name, ARROW_TYPES[column.kind]) for column in table.columns]
    return pa.schema([*fields, pa.field(LINE, pa.int64())])


def constant_column(column: Column, length: int) -> pa.Array:
    """A column that a file does not have: its default in every row, or missing."""
    arrow_type = ARROW_TYPES[column.kind]
    if column.default is None:
        return pa.nulls(length, arrow_type)
    return pa.repeat(pa.scalar(column.default, arrow_type), length)


def fill_defaults(column: Column, values: pa.Array) -> pa.Array:
    """`values` with the column's default where missing."""
    if column.default is None or not values.null_count:
        return values
    return values.fill_null(pa.scalar(column.default, ARROW_TYPES[column.kind]))
