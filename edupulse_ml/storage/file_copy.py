"""One file on its way into the database: while the server takes a chunk, threads encode the next and read the one after.

Rows that are certain to be the only version of their key go straight into their month (`DirectMonths`), all others to
the temporary table `stage`, from where they are merged.
"""

# pyarrow ships without types, so that strict mode knows nothing of what it returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from edupulse_ml.core.tables import Table
from edupulse_ml.storage.connection import Connection
from edupulse_ml.storage.copy_rows import CopyColumn, FixedColumn, copy_data, encode_rows, fixed_column, text_column
from edupulse_ml.storage.direct_months import DirectMonths
from edupulse_ml.storage.merging import KEY_TYPES, STAGE_TYPES, MergePlan, references, stage_columns
from edupulse_ml.storage.references import UNKNOWN, KeyMap
from edupulse_ml.storage.repeats import SeenKeys
from edupulse_ml.storage.sql import load_queries
from edupulse_ml.storage.staging import ArrowChunk, CheckedChunk, RejectedRow, Stager

_UNKNOWN_REFERENCE: Final = {
    "student_id": "no student with this identifier: it is missing in students",
    "school_id": "no school with this identifier: it is missing in schools",
}
_COPY_BYTES: Final = 2 * 2**20
"""So much goes into a month at once: every COPY costs both sides half a millisecond."""
_NO_MOMENT: Final = np.iinfo(np.int64).max

_First = TypeVar("_First")
_Second = TypeVar("_Second")


@dataclass
class CopiedRows:
    """What became of a file's rows so far."""

    n_staged: int = 0
    n_without_moment: int = 0
    """Staged rows without `recorded_at`."""
    n_repeated: int = 0
    """Staged rows whose key may stand on another line."""
    n_direct: int = 0
    """Rows in a month, each the only version of its key so far."""
    rejects: list[RejectedRow] = field(default_factory=list[RejectedRow])


@dataclass(frozen=True)
class _Resolved:
    """A chunk, and the positions [R] of its rows' students and schools in the key maps, by column."""

    chunk: CheckedChunk
    positions: Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class _Encoded:
    """A chunk as COPY data: for `stage` (empty: no rows) and for months."""

    staged: bytes
    direct: tuple[tuple[sql.Composed, bytes], ...]


class FileCopy:
    """Copies one file. `plan` and `months` are None for a table that keeps the latest rows only, `months` also for one
    that is not split by month.
    """

    def __init__(
        self,
        connection: Connection,
        table: Table,
        *,
        file_name: str,
        keys: Mapping[str, KeyMap],
        plan: MergePlan | None,
        months: DirectMonths | None,
    ) -> None:
        self.stager = Stager(table, file_name=file_name)
        self.copied = CopiedRows()
        self._connection = connection
        self._table = table
        self._file = file_name
        self._keys = keys
        self._plan = plan
        self._months = months
        self._seen = SeenKeys()
        self._names = stage_columns(table)
        self._kinds = {column.name: column.kind for column in table.columns}
        self._waiting: dict[int, list[bytes]] = {}
        self._first_moments: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    async def run(self, chunks: Iterable[ArrowChunk]) -> None:
        """Store or stage every row of the chunks."""
        checked = self._checked(chunks)
        following = await asyncio.to_thread(next, checked, None)
        encoded: _Encoded | None = None
        while following is not None or encoded is not None:
            resolved = None if following is None else await self._resolve(following)
            encoding = asyncio.to_thread(self._encode, resolved)
            reading = asyncio.to_thread(next, checked, None)
            encoded, following = await _beside(encoding, reading, sending=self._send(encoded))
        await self._send(_Encoded(b"", self._ready(0)))
        await self._note_direct()

    def _checked(self, chunks: Iterable[ArrowChunk]) -> Iterator[CheckedChunk]:
        for chunk in chunks:
            yield self.stager.check(chunk)

    async def _resolve(self, chunk: CheckedChunk) -> _Resolved:
        positions: dict[str, NDArray[np.int64]] = {}
        for name in references(self._table):
            await self._keys[name].learn(self._connection, chunk.columns[name])
            positions[name] = self._keys[name].positions(chunk.columns[name])
        self._reject_unknown(chunk, positions)
        if self._months is not None and chunk.months is not None:
            await self._months.open(chunk.months)
        return _Resolved(chunk, positions)

    def _reject_unknown(self, chunk: CheckedChunk, positions: Mapping[str, NDArray[np.int64]]) -> None:
        rejected = np.zeros(len(chunk.lines), dtype=np.bool_)
        found: list[RejectedRow] = []
        for name, places in positions.items():
            fresh = (places == UNKNOWN) & ~rejected
            rejected |= fresh
            reason = _UNKNOWN_REFERENCE[name]
            found += [RejectedRow(self._file, line, name, reason) for line in chunk.lines[fresh].tolist()]
        self.copied.rejects += sorted(found, key=lambda reject: reject.line)

    def _encode(self, resolved: _Resolved | None) -> _Encoded | None:
        if resolved is None:
            return None
        columns = self._copy_columns(resolved)
        if self._plan is None:
            self.copied.n_staged += len(resolved.chunk.lines)
            return _Encoded(_copy_data(columns, slice(None)), ())
        is_known = np.ones(len(resolved.chunk.lines), dtype=np.bool_)
        for places in resolved.positions.values():
            is_known &= places != UNKNOWN
        has_moment = resolved.chunk.columns["recorded_at"].is_valid().to_numpy(zero_copy_only=False)
        is_direct, is_repeated = self._direct_rows(resolved, is_known & has_moment)
        staged = np.flatnonzero(is_known & ~is_direct)
        self.copied.n_staged += len(staged)
        self.copied.n_without_moment += int((~has_moment[staged]).sum())
        self.copied.n_repeated += int(is_repeated[staged].sum())
        columns.append(FixedColumn("bool", is_repeated))
        return _Encoded(
            _copy_data(columns, staged), self._encode_direct(resolved, columns[1:-1], np.flatnonzero(is_direct))
        )

    def _direct_rows(
        self, resolved: _Resolved, candidates: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Rows that go straight into their month, and rows whose key may stand on another line: of those in a direct
        month only the rows of later chunks, which is all that `DirectMonths` asks for.
        """
        chunk = resolved.chunk
        key = [_key_column(chunk, resolved.positions, name) for name in self._table.natural_key]
        before, within = self._seen.add(key)
        if self._months is None or chunk.months is None:
            return np.zeros(len(candidates), dtype=np.bool_), before | within
        is_open = self._months.are_direct(chunk.months)
        return candidates & is_open & ~before & ~within, before | within & ~is_open

    def _encode_direct(
        self, resolved: _Resolved, columns: list[CopyColumn], rows: NDArray[np.intp]
    ) -> tuple[tuple[sql.Composed, bytes], ...]:
        """Rows by month and, for the sake of the index, by student within it."""
        months = resolved.chunk.months
        if self._months is None or months is None or not len(rows):
            return ()
        self.copied.n_direct += len(rows)
        student = resolved.positions["student_id"][rows]
        recorded = columns[-1]
        if isinstance(recorded, FixedColumn):
            self._remember(student, recorded.values[rows])
        order = rows[np.argsort(months[rows].astype(np.int64) << 40 | student, kind="stable")]
        encoded = encode_rows(columns, order)
        in_order = months[order]
        bounds = [0, *(np.flatnonzero(np.diff(in_order)) + 1).tolist(), len(order)]
        for first, last in pairwise(bounds):
            self._waiting.setdefault(int(in_order[first]), []).append(encoded.rows(first, last))
        return self._ready(_COPY_BYTES)

    def _ready(self, n_bytes: int) -> tuple[tuple[sql.Composed, bytes], ...]:
        """Takes the months for which so much waits."""
        if self._months is None:
            return ()
        full = [month for month, parts in self._waiting.items() if sum(map(len, parts)) >= n_bytes]
        return tuple((self._months.copy_statement(month), copy_data(self._waiting.pop(month))) for month in full)

    def _remember(self, students: NDArray[np.int64], moments: NDArray[np.int64]) -> None:
        missing = len(self._keys["student_id"].keys) - len(self._first_moments)
        self._first_moments = np.concatenate((self._first_moments, np.full(missing, _NO_MOMENT)))
        np.minimum.at(self._first_moments, students, moments)

    def _copy_columns(self, resolved: _Resolved) -> list[CopyColumn]:
        """`line` and the file's columns, in the order of `stage`."""
        columns: list[CopyColumn] = [FixedColumn("int8", resolved.chunk.lines)]
        for name in self._names:
            values = resolved.chunk.columns[name]
            if self._plan is not None and name in resolved.positions:
                # The last key stands in for unknown ones, whose rows are left out.
                keys = self._keys[name].keys
                places = resolved.positions[name]
                columns.append(FixedColumn(KEY_TYPES[name], keys[places] if len(keys) else places))
            elif (kind := self._kinds[name]) == "text":
                columns.append(text_column(values))
            else:
                columns.append(fixed_column(STAGE_TYPES[kind], values))
        return columns

    async def _send(self, encoded: _Encoded | None) -> None:
        if encoded is None:
            return
        if encoded.staged:
            await self._copy(load_queries("loading")["copy_stage"], encoded.staged)
        for statement, data in encoded.direct:
            await self._copy(statement, data)

    async def _copy(self, statement: sql.SQL | sql.Composed, data: bytes) -> None:
        async with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            await copy.write(data)

    async def _note_direct(self) -> None:
        """The students of rows that were stored directly, and the first moments from which they are known."""
        students = np.flatnonzero(self._first_moments != _NO_MOMENT)
        if len(students):
            keys = FixedColumn("int8", self._keys["student_id"].keys[students])
            moments = FixedColumn("timestamptz", self._first_moments[students])
            await self._copy(load_queries("loading")["copy_changes"], _copy_data([keys, moments], slice(None)))


def _key_column(chunk: CheckedChunk, positions: Mapping[str, NDArray[np.int64]], name: str) -> Any:
    if name in positions:
        return positions[name]
    values = chunk.columns[name]
    return values if pa.types.is_dictionary(values.type) else values.cast(pa.int32()).to_numpy()


def _copy_data(columns: list[CopyColumn], rows: NDArray[np.intp] | slice) -> bytes:
    """Complete COPY data; empty where there is no row."""
    encoded = encode_rows(columns, rows)
    n_rows = len(encoded.starts) - 1
    return copy_data([encoded.rows(0, n_rows)]) if n_rows else b""


async def _beside(
    first: Awaitable[_First], second: Awaitable[_Second], *, sending: Awaitable[None]
) -> tuple[_First, _Second]:
    """What two threads return that work while `sending` goes on; ends when all have ended."""
    threads = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        await sending
    finally:
        # The threads read files and fill lists that the caller takes down as soon as this ends.
        await asyncio.wait(threads)
        errors = [thread.exception() for thread in threads]
    for error in errors:
        if error is not None:
            raise error
    return threads[0].result(), threads[1].result()
