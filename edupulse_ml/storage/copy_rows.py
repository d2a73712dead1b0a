"""Rows of NumPy columns, with missing values and texts, as binary COPY data; no Python loop per row.

A row is laid out at its full width first (`length, value` per field, texts padded to the longest of the chunk) and
then cut down to the bytes that count: those of no text's padding and of no missing value.
"""

# pyarrow ships without types, so that strict mode knows nothing of what it returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"

_WIRE_TYPES: Final = {"int8": ">i8", "int4": ">i4", "date": ">i4", "timestamptz": ">i8", "float4": ">f4", "bool": "?"}
_ARROW_INTEGERS: Final = {"date": pa.int32(), "timestamptz": pa.int64()}
_EPOCHS: Final = {"date": 10_957, "timestamptz": 946_684_800_000_000}
"""2000-01-01, from which PostgreSQL counts, in days and microseconds since 1970."""
_LENGTH_BYTES: Final = 4
_MISSING: Final = -1

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class FixedColumn:
    """`values` [R] as PostgreSQL counts them, of one of the types int8, int4, date, timestamptz, float4 and bool.
    `missing` [R] says where there is none; None: nowhere.
    """

    kind: str
    values: NDArray[Any]
    missing: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class TextColumn:
    """Row r holds the text of `codes[r]`. `fields` [D, W] are the distinct texts behind their lengths, padded;
    `used` [D, W] says which bytes count. The last of them is the missing value.
    """

    codes: NDArray[Any]
    fields: Bytes
    used: NDArray[np.bool_]


CopyColumn = FixedColumn | TextColumn


@dataclass(frozen=True)
class EncodedRows:
    """`data` holds the rows one after the other; row r begins at `starts[r]`, `starts[R]` is the end."""

    data: Bytes
    starts: NDArray[np.int64]

    def rows(self, first: int, last: int) -> bytes:
        """Rows `first` up to but without `last`."""
        return self.data[self.starts[first] : self.starts[last]].tobytes()


def copy_data(parts: Iterable[bytes]) -> bytes:
    """Encoded rows as a complete binary COPY stream."""
    return b"".join((COPY_HEADER, *parts, COPY_TRAILER))


def fixed_column(kind: str, values: Any) -> FixedColumn:
    """An Arrow array of dates, moments (microseconds), numbers or booleans; nulls are missing."""
    missing = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
    if kind in _ARROW_INTEGERS:
        values = values.cast(_ARROW_INTEGERS[kind])
    if missing is not None:
        values = values.fill_null(values.type.to_pandas_dtype()(0))
    numbers = values.to_numpy(zero_copy_only=False)
    return FixedColumn(kind, numbers - _EPOCHS[kind] if kind in _EPOCHS else numbers, missing)


def text_column(values: Any) -> TextColumn:
    """An Arrow array of strings, plain or dictionary-encoded; nulls are missing."""
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    texts = encoded.dictionary.cast(pa.binary())
    count = len(texts)
    bounds = (
        np.frombuffer(texts.buffers()[1], dtype=np.int32, count=count + 1, offset=4 * texts.offset)
        if count
        else np.zeros(1, np.int32)
    )
    lengths = np.diff(bounds)
    width = int(lengths.max(initial=0))
    fields = np.zeros((count + 1, _LENGTH_BYTES + width), dtype=np.uint8)
    fields[:, :_LENGTH_BYTES] = np.append(lengths, _MISSING).astype(">i4").view(np.uint8).reshape(-1, _LENGTH_BYTES)
    used = np.zeros(fields.shape, dtype=np.bool_)
    used[:, :_LENGTH_BYTES] = True
    used[:count, _LENGTH_BYTES:] = np.arange(width) < lengths[:, None]
    if width:
        padding = used.copy()
        padding[:, :_LENGTH_BYTES] = False
        fields[padding] = np.frombuffer(texts.buffers()[2], dtype=np.uint8)[bounds[0] : bounds[-1]]
    indices = encoded.indices
    codes = (indices.fill_null(count) if indices.null_count else indices).to_numpy(zero_copy_only=False)
    return TextColumn(codes, fields, used)


def encode_rows(columns: Sequence[CopyColumn], rows: NDArray[np.intp] | slice) -> EncodedRows:
    """The chosen rows, in the order in which they are chosen."""
    taken = [_taken(column, rows) for column in columns]
    n_rows = len(taken[0].codes if isinstance(taken[0], TextColumn) else taken[0].values)
    widths = [2, *(_width(column) for column in taken)]
    ends = np.cumsum(widths)
    data = np.empty((n_rows, int(ends[-1])), dtype=np.uint8)
    used = np.ones(data.shape, dtype=np.bool_)
    data[:, :2] = np.frombuffer(len(columns).to_bytes(2, "big"), dtype=np.uint8)
    lengths = np.full(n_rows, int(ends[-1]), dtype=np.int64)
    for column, start, end in zip(taken, ends[:-1], ends[1:], strict=True):
        target, counts = data[:, start:end], used[:, start:end]
        lengths -= (
            _fill_text(column, target, counts) if isinstance(column, TextColumn) else _fill(column, target, counts)
        )
    starts = np.concatenate(([0], np.cumsum(lengths)))
    flat = data.reshape(-1)
    return EncodedRows(flat if starts[-1] == len(flat) else flat[used.reshape(-1)], starts)


def _taken(column: CopyColumn, rows: NDArray[np.intp] | slice) -> CopyColumn:
    if isinstance(column, TextColumn):
        return TextColumn(column.codes[rows], column.fields, column.used)
    missing = None if column.missing is None else column.missing[rows]
    return FixedColumn(column.kind, column.values[rows], missing)


def _width(column: CopyColumn) -> int:
    if isinstance(column, TextColumn):
        return column.fields.shape[1]
    return _LENGTH_BYTES + np.dtype(_WIRE_TYPES[column.kind]).itemsize


def _fill(column: FixedColumn, target: Bytes, used: NDArray[np.bool_]) -> NDArray[np.int64] | int:
    """Writes a column's fields; returns how many of the bytes do not count, per row."""
    dtype = np.dtype(_WIRE_TYPES[column.kind])
    field = np.empty(len(column.values), dtype=[("length", ">i4"), ("value", dtype)])
    field["length"] = dtype.itemsize
    field["value"] = column.values
    unused: NDArray[np.int64] | int = 0
    if column.missing is not None:
        field["length"][column.missing] = _MISSING
        used[column.missing, _LENGTH_BYTES:] = False
        unused = column.missing.astype(np.int64) * dtype.itemsize
    target[:] = field.view(np.uint8).reshape(len(field), _LENGTH_BYTES + dtype.itemsize)
    return unused


def _fill_text(column: TextColumn, target: Bytes, used: NDArray[np.bool_]) -> NDArray[np.int64]:
    target[:] = column.fields[column.codes]
    used[:] = column.used[column.codes]
    return (column.fields.shape[1] - column.used.sum(axis=1))[column.codes]
