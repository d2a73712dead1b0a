"""Arrow tables of records as CSV for COPY, with the rows that the tables could not hold set aside."""

# pyarrow ships without types, so that strict mode knows nothing of what it returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false, reportAttributeAccessIssue=false

import io
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from edupulse_ml.core.tables import Column, Table

STAGE_TYPES: Final = {
    "text": "text",
    "date": "date",
    "moment": "timestamptz",
    "boolean": "bool",
    "integer": "int4",
    "number": "float4",
}
_ARROW_TYPES: Final = {
    "text": pa.string(),
    "date": pa.date32(),
    "moment": pa.timestamp("us", tz="UTC"),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
}
_FIRST_DATE: Final = date(1900, 1, 1)
_LAST_DATE: Final = date(2199, 12, 31)
_LINE: Final = "line"


class ArrowChunk(Protocol):
    """A `pyarrow.Table` with the canonical columns and `line`, the position in the file."""

    @property
    def num_rows(self) -> int: ...


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A line of a file that was not stored. `column` is empty where no single column is to blame; `reason` never
    holds a value of the row.
    """

    file: str
    line: int
    column: str
    reason: str


@dataclass
class StagedRows:
    """What the chunks of one file held so far."""

    n_read: int = 0
    n_staged: int = 0
    n_without_moment: int = 0
    months: set[date] = field(default_factory=set[date])
    rejects: list[RejectedRow] = field(default_factory=list[RejectedRow])


class Stager:
    """Turns the chunks of one file into CSV and keeps count."""

    def __init__(self, table: Table, *, file_name: str) -> None:
        self.rows = StagedRows()
        self._table = table
        self._file = file_name

    def encode(self, chunk: ArrowChunk) -> bytes:
        """The storable rows of a chunk as CSV: `line`, then the table's columns in order; NULL is an empty field.

        Raises:
            ValueError: the chunk has no `line` column, or a column cannot be read as its kind.
        """
        self.rows.n_read += chunk.num_rows
        prepared = self._prepared(cast("Any", chunk))
        keep = self._storable(prepared)
        if keep is not None:
            prepared = prepared.filter(keep)
        self._note(prepared)
        sink = io.BytesIO()
        csv.write_csv(prepared, sink, csv.WriteOptions(include_header=False, quoting_style="needed"))
        return sink.getvalue()

    def _prepared(self, chunk: pa.Table) -> pa.Table:
        if _LINE not in chunk.column_names:
            msg = f"a chunk of {self._table.name} has no line numbers"
            raise ValueError(msg)
        arrays = [chunk[_LINE].cast(pa.int64())]
        for column in self._table.columns:
            kind = _ARROW_TYPES[column.kind]
            if column.name not in chunk.column_names:
                values: Any = pa.nulls(chunk.num_rows, kind)
            else:
                values = chunk[column.name].cast(kind)
            if column.default is not None and values.null_count:
                values = pc.fill_null(values, pa.scalar(column.default, kind))
            arrays.append(values)
        return pa.table(arrays, names=[_LINE, *(column.name for column in self._table.columns)])

    def _storable(self, prepared: pa.Table) -> Any:
        """Which rows the table can hold, or None: all."""
        keep: Any = None
        for column in self._table.columns:
            for bad, reason in self._faults(column, prepared[column.name]):
                lines = prepared[_LINE].filter(bad).to_pylist()
                self.rows.rejects += [RejectedRow(self._file, line, column.name, reason) for line in lines]
                keep = pc.invert(bad) if keep is None else pc.and_(keep, pc.invert(bad))
        return keep

    def _faults(self, column: Column, values: Any) -> list[tuple[Any, str]]:
        faults: list[tuple[Any, str]] = []
        if column.required and values.null_count:
            faults.append((pc.is_null(values), "the value is missing"))
        if column.kind == "text":
            has_nul = pc.fill_null(pc.match_substring(values, "\0"), False)  # noqa: FBT003  # the fill value
            if pc.any(has_nul).as_py():
                faults.append((has_nul, "the text holds a NUL character"))
        if column.name == self._table.valid_date and column.kind == "date" and len(values) > values.null_count:
            bounds = pc.min_max(values).as_py()
            if bounds["min"] < _FIRST_DATE or bounds["max"] > _LAST_DATE:
                outside = pc.or_(pc.less(values, pa.scalar(_FIRST_DATE)), pc.greater(values, pa.scalar(_LAST_DATE)))
                faults.append((pc.fill_null(outside, False), "the date lies outside the years 1900 to 2199"))  # noqa: FBT003  # the fill value
        return faults

    def _note(self, prepared: pa.Table) -> None:
        self.rows.n_staged += prepared.num_rows
        if self._table.bitemporal:
            self.rows.n_without_moment += prepared["recorded_at"].null_count
        valid = self._table.valid_date
        if valid is not None and prepared.schema.field(valid).type == pa.date32():
            months = pc.unique(pc.floor_temporal(prepared[valid], unit="month"))
            self.rows.months.update(months.to_pylist())
