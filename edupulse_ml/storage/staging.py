"""Chunks of one file, checked, as columns that COPY can take; rows that the table could not hold are set aside."""

# pyarrow ships without types, so that strict mode knows nothing of what it returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from edupulse_ml.core.tables import Column, Table

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
    rejects: list[RejectedRow] = field(default_factory=list[RejectedRow])


@dataclass(frozen=True)
class CheckedChunk:
    """The storable rows of a chunk. `columns` are Arrow arrays, texts dictionary-encoded, by the file's column names;
    `lines` [R]; `months` [R] counts the months of the valid date since 1970, None where it is no date.
    """

    columns: Mapping[str, Any]
    lines: NDArray[np.int64]
    months: NDArray[np.int32] | None


class Stager:
    """Checks the chunks of one file and keeps count."""

    def __init__(self, table: Table, *, file_name: str) -> None:
        self.rows = StagedRows()
        self._table = table
        self._file = file_name

    def check(self, chunk: ArrowChunk) -> CheckedChunk:
        """The rows of a chunk that the table can hold, with the table's defaults.

        Raises:
            ValueError: the chunk has no `line` column, or a column cannot be read as its kind.
        """
        self.rows.n_read += chunk.num_rows
        prepared = self._prepared(cast("Any", chunk))
        keep = self._storable(prepared)
        if keep is not None:
            prepared = prepared.filter(keep)
        columns = {name: _one_array(prepared[name]) for name in prepared.column_names if name != _LINE}
        encoded = {
            name: array.dictionary_encode() if array.type == pa.string() else array for name, array in columns.items()
        }
        return CheckedChunk(encoded, _one_array(prepared[_LINE]).to_numpy(), self._months(columns))

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

    def _months(self, columns: Mapping[str, Any]) -> NDArray[np.int32] | None:
        valid = self._table.valid_date
        if valid is None or columns[valid].type != pa.date32():
            return None
        days = columns[valid].cast(pa.int32()).to_numpy()
        return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int32)


def _one_array(column: pa.ChunkedArray) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
