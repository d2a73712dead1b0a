"""Parquet files in batches of rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from edupulse_ml.connectors.validation import RawRows

BATCH_ROWS: Final = 131_072


class UnreadableParquetError(ValueError):
    """The file, or the rest of it from row `row` on, is not readable; the message says why, without the file's
    name. `column` is empty where the fault is not in one column.
    """

    def __init__(self, message: str, *, row: int, column: str = "") -> None:
        super().__init__(message)
        self.row = row
        self.column = column


@dataclass(frozen=True)
class ParquetBatch:
    """Rows of one batch. `share_read` (0-1) is how much of the file has been read with it."""

    rows: RawRows
    share_read: float


def read_column_names(path: Path) -> list[str]:
    """The names of a file's columns.

    Raises:
        UnreadableParquetError: this is no Parquet file.
    """
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableParquetError("the file is not a readable Parquet file", row=1) from error


def read_batches(path: Path, columns: Sequence[str], *, batch_rows: int = BATCH_ROWS) -> Iterator[ParquetBatch]:
    """The rows, a batch at a time, with row numbers from 1 as `lines`.

    Raises:
        UnreadableParquetError: a column holds nested values, or the file is damaged.
    """
    row = 1
    try:
        with pq.ParquetFile(path) as file:
            _refuse_nested(file.schema_arrow, columns)
            for batch in file.iter_batches(batch_size=batch_rows, columns=list(columns)):
                lines = np.arange(row, row + batch.num_rows, dtype=np.int64)
                encoded = {name: _encoded(batch.column(name)) for name in columns}
                row += batch.num_rows
                yield ParquetBatch(RawRows(encoded, lines), (row - 1) / max(file.metadata.num_rows, 1))
    except (pa.ArrowException, OSError) as error:
        raise UnreadableParquetError("the file is damaged from this row on", row=row) from error


def _refuse_nested(schema: pa.Schema, columns: Sequence[str]) -> None:
    for name in columns:
        kind = schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise UnreadableParquetError(f"column '{name}' holds values of type {kind}", row=1, column=name)


def _encoded(values: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(values.type):
        return values
    return values.dictionary_encode()
