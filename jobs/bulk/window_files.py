"""Feature windows as Parquet: one row per student, one column of fixed width per array.

Each array column holds the little-endian values of one student's array, row after row, so a row group is read into the
arrays of a `SequenceBatch` without touching a value. docs/operations.md describes the columns for other programs.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from edupulse_ml.core.contract import (
    AUX_COLUMNS,
    CONTEXT_COLUMNS,
    FEATURE_NAMES,
    MODALITIES,
    SUPPORT_COLUMNS,
    FeatureContract,
)
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.storage.scoring_runs import Chunk
from jobs.bulk.folders import read_run, write_table

STUDENTS_PER_GROUP: Final = 1024
"""Rows of a row group: what is read, prepared and scored at a time, so it should lie in a processor's cache."""
STUDENTS_PER_FILE: Final = 8192
"""Rows of a file, the unit that a killed run does again; 25 to 35 MiB before compression."""

KIND: Final = "windows"
_COMPRESSION: Final = "lz4"
_STUDENT_ID: Final = "student_id"
_PER_STEP: Final = {
    "values": ("<f4", len(FEATURE_NAMES)),
    "support": ("<f4", len(SUPPORT_COLUMNS)),
    "aux": ("<f4", len(AUX_COLUMNS)),
    "mask": ("|b1", len(MODALITIES)),
    "week": ("<i4", 0),
    "grade_level": ("<i4", 0),
}
"""Type and width (0: one value) of each step's entry; the context has no steps."""


@dataclass(frozen=True)
class WindowsDescription:
    """What a folder of windows holds: windows of one contract that end with `through_week` (a Monday's day number) or
    before, of the students enrolled at `as_of`. `timezone` is the district's, an IANA name.
    """

    district: str
    timezone: str
    contract_fingerprint: str
    window_weeks: int
    through_week: int
    as_of: datetime

    def identity(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": KIND, **asdict(self), "as_of": self.as_of.isoformat()}


@dataclass(frozen=True)
class StudentWindows:
    """Windows and whose they are, position by position."""

    student_id: pa.Array
    batch: SequenceBatch


def describe_windows(folder: Path, *, contract: FeatureContract) -> WindowsDescription:
    """What a folder of windows holds.

    Raises:
        InvalidInputError: it holds no windows, not all of them, or windows of another contract.
    """
    run = read_run(folder)
    if run is None or run["identity"].get("kind") != KIND:
        raise InvalidInputError(f"{folder} holds no feature windows: write them with `edupulse materialise --to`.")
    if run["totals"] is None:
        raise InvalidInputError(f"{folder} is not complete: run `edupulse materialise --to {folder}` again.")
    told = {field.name: run["identity"][field.name] for field in fields(WindowsDescription)}
    found = WindowsDescription(**{**told, "as_of": datetime.fromisoformat(told["as_of"])})
    if found.contract_fingerprint != contract.fingerprint:
        raise InvalidInputError(
            f"{folder} holds windows of contract {found.contract_fingerprint}, the model reads {contract.fingerprint}: "
            "write them again with this release and its settings."
        )
    return found


def plan_files(folder: Path, *, students_per_chunk: int) -> list[Chunk]:
    """All rows of the folder's files, in parts of whole row groups of at least `students_per_chunk` rows, where a file
    has so many. Reads no row.
    """
    return [
        part
        for path in sorted(folder.glob("*.parquet"))
        for part in _parts(path, students_per_chunk=students_per_chunk)
    ]


def count_windows(folder: Path) -> int:
    """Rows of all files."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def write_windows(path: Path, student_ids: Sequence[str], batch: SequenceBatch) -> None:
    """Write one file, whole or not at all; position i of the batch is `student_ids[i]`."""
    columns: dict[str, pa.Array] = {_STUDENT_ID: pa.array(student_ids, pa.string())}
    columns |= {name: _packed(getattr(batch, name).astype(dtype, copy=False)) for name, (dtype, _) in _PER_STEP.items()}
    columns["context"] = _packed(batch.context.astype("<f4", copy=False))
    table = pa.table(columns).replace_schema_metadata({"edupulse": json.dumps(_layout(batch.week.shape[1]))})
    write_table(table, path, rows_per_group=STUDENTS_PER_GROUP, compression=_COMPRESSION)


def read_windows(folder: Path, chunk: Chunk, *, window_weeks: int) -> Iterator[StudentWindows]:
    """The chunk's row groups one by one, without copying an array.

    Raises:
        InvalidInputError: the file has other columns or windows of another length.
    """
    with pq.ParquetFile(folder / chunk.file) as file:
        for group in range(chunk.first, chunk.last + 1):
            table = file.read_row_group(group, use_threads=False)
            if not _is_laid_out(table.schema, window_weeks):
                raise InvalidInputError(
                    f"{folder / chunk.file} does not hold windows of {window_weeks} weeks as this release writes them: write "
                    "the folder again with `edupulse materialise --to`."
                )
            yield StudentWindows(table.column(_STUDENT_ID).combine_chunks(), _batch(table, window_weeks))


def _parts(path: Path, *, students_per_chunk: int) -> Iterator[Chunk]:
    metadata = pq.read_metadata(path)
    first, students = 0, 0
    for group in range(metadata.num_row_groups):
        students += metadata.row_group(group).num_rows
        is_last = group == metadata.num_row_groups - 1
        if students and (students >= students_per_chunk or is_last):
            yield Chunk(path.name, first, group, students)
            first, students = group + 1, 0


def _batch(table: pa.Table, window_weeks: int) -> SequenceBatch:
    n = table.num_rows
    arrays: dict[str, NDArray[Any]] = {}
    for name, (dtype, width) in _PER_STEP.items():
        shape = (n, window_weeks, width) if width else (n, window_weeks)
        arrays[name] = _unpacked(table, name, dtype).reshape(shape)
    arrays["context"] = _unpacked(table, "context", "<f4").reshape(n, len(CONTEXT_COLUMNS))
    return SequenceBatch(**arrays)


def _packed(values: NDArray[Any]) -> pa.Array:
    """[N, ...] as N byte strings of one width."""
    width = int(np.prod(values.shape[1:])) * values.itemsize
    buffer = pa.py_buffer(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
    return pa.Array.from_buffers(pa.binary(width), len(values), [None, buffer])


def _unpacked(table: pa.Table, name: str, dtype: str) -> NDArray[Any]:
    column = table.column(name)
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    width, buffer = array.type.byte_width, array.buffers()[1]
    if buffer is None:
        return np.empty(0, dtype)
    return np.frombuffer(buffer, dtype, len(array) * width // np.dtype(dtype).itemsize, array.offset * width)


def _is_laid_out(schema: pa.Schema, window_weeks: int) -> bool:
    widths = {
        name: max(width, 1) * window_weeks * np.dtype(dtype).itemsize for name, (dtype, width) in _PER_STEP.items()
    }
    widths["context"] = 4 * len(CONTEXT_COLUMNS)
    return _STUDENT_ID in schema.names and all(
        name in schema.names and schema.field(name).type == pa.binary(width) for name, width in widths.items()
    )


def _layout(window_weeks: int) -> dict[str, Any]:
    """For whoever reads the file without us: how each array column is laid out."""
    names: dict[str, Sequence[str]] = {
        "values": FEATURE_NAMES,
        "support": SUPPORT_COLUMNS,
        "aux": AUX_COLUMNS,
        "mask": MODALITIES,
        "context": CONTEXT_COLUMNS,
    }
    return {
        name: {"dtype": dtype, "shape": [window_weeks, width] if width else [window_weeks], "names": names.get(name)}
        for name, (dtype, width) in _PER_STEP.items()
    } | {"context": {"dtype": "<f4", "shape": [len(CONTEXT_COLUMNS)], "names": names["context"]}}
