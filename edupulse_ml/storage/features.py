"""`PostgresFeatureStore`: materialised student-weeks, and the queue of students whose weeks must be computed again."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import StudentId, StudentKey
from edupulse_ml.core.ports import FoundWindows, StoredWindows
from edupulse_ml.core.sequences import PAD, FeatureBlock, concatenate_blocks, empty_windows
from edupulse_ml.core.weeks import day_from_number
from edupulse_ml.core.windows import window_size_bytes
from edupulse_ml.storage.blocks import assemble_block, encode_block, last_window_columns, windows_of_sizes
from edupulse_ml.storage.connection import Connection, Database
from edupulse_ml.storage.sql import load_queries

_STUDENTS_PER_READ: Final = 1000
_EMPTY: Final[Mapping[str, NDArray[Any]]] = {}


@dataclass(frozen=True)
class PendingStudent:
    """A student whose stored weeks are not current. `revision` tells `mark_refreshed` whether another import came in
    between.
    """

    student_key: StudentKey
    revision: int


class PostgresFeatureStore:
    """`core.ports.FeatureStore` of the database's district, and its writer.

    School positions are those of `PostgresRecordReader`, so a block computed from its records can be written as it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("features")

    async def find_windows(
        self, student_ids: Sequence[StudentId], *, through_week: int, contract: FeatureContract
    ) -> FoundWindows:
        """Who these students are, and their last windows up to `through_week` as `write_block` kept them; one query."""
        parameters = {
            "student_ids": list(student_ids),
            "through_week": day_from_number(through_week),
            "contract_fingerprint": contract.fingerprint,
            "size_bytes": window_size_bytes(contract.window_weeks),
        }
        if not student_ids:
            nobody = np.empty(0, np.bool_)
            return FoundWindows(
                np.empty(0, np.int64), nobody, nobody, empty_windows(0, window_weeks=contract.window_weeks)
            )
        async with self._database.connection() as connection:
            columns = await self._columns(connection, "find_windows", parameters)
        sizes = columns["size_bytes"]
        batch = windows_of_sizes(columns["encoded"], sizes[sizes >= 0], window_weeks=contract.window_weeks)
        return FoundWindows(columns["student_key"], columns["is_current"], sizes >= 0, batch)

    async def latest_windows(
        self, keys: Sequence[StudentKey], *, through_week: int, window_weeks: int, contract_fingerprint: str
    ) -> StoredWindows:
        """The last stored steps up to and including `through_week`, position i = keys[i]; one query."""
        if not keys:
            return StoredWindows(assemble_block(_EMPTY, n_students=0), [])
        parameters = {
            "keys": list(keys),
            "through_week": day_from_number(through_week),
            "window_weeks": window_weeks,
            "contract_fingerprint": contract_fingerprint,
        }
        async with self._database.connection() as connection:
            columns = await self._columns(connection, "latest_windows", parameters)
        is_current = [bool(value) for value in columns.pop("is_current")]
        found = columns if "student" in columns else _EMPTY
        return StoredWindows(assemble_block(found, n_students=len(keys)), is_current)

    async def read_history(
        self, keys: Sequence[StudentKey], *, contract: FeatureContract, from_week: int, to_week: int
    ) -> FeatureBlock:
        """Every stored step of these students from one week to another, both included; position i = keys[i]."""
        blocks: list[FeatureBlock] = []
        async with self._database.transaction(snapshot=True) as connection:
            for start in range(0, len(keys), _STUDENTS_PER_READ):
                chunk = list(keys[start : start + _STUDENTS_PER_READ])
                parameters = {
                    "keys": chunk,
                    "contract_fingerprint": contract.fingerprint,
                    "from_week": day_from_number(from_week),
                    "to_week": day_from_number(to_week),
                }
                columns = await self._columns(connection, "history", parameters)
                blocks.append(assemble_block(columns, n_students=len(chunk)))
        return concatenate_blocks(blocks) if blocks else assemble_block(_EMPTY, n_students=0)

    async def write_block(
        self, keys: Sequence[StudentKey], block: FeatureBlock, contract: FeatureContract, *, through_week: int
    ) -> int:
        """Make the stored weeks up to `through_week` equal to the block, and the students' last windows with them;
        returns how many weeks changed.

        Position i of the block is keys[i], with all of that student's steps. Idempotent; one transaction.

        Raises:
            InvalidInputError: the block has another number of students, or steps after `through_week`.
        """
        if block.n_students != len(keys):
            raise InvalidInputError(f"A block of {block.n_students} students was given with {len(keys)} keys.")
        if block.week.size and int(block.week.max()) > through_week:
            raise InvalidInputError("The block holds weeks after `through_week`; name its last week.")
        await self._ensure_months(block)
        marks = {
            "keys": list(keys),
            "contract_fingerprint": contract.fingerprint,
            "through_week": day_from_number(through_week),
        }
        async with self._database.transaction() as connection:
            school_keys = await self._school_keys(connection)
            await connection.execute(self._queries["create_stage"])
            async with connection.cursor() as cursor, cursor.copy(self._queries["copy_stage"]) as copy:
                await copy.write(encode_block(block, keys=keys, school_keys=school_keys))
            await connection.execute(self._queries["analyze_stage"])
            merged = await connection.execute(self._queries["merge_stage"], marks)
            deleted = await connection.execute(self._queries["delete_stale"], marks)
            windows = last_window_columns(block, window_weeks=contract.window_weeks)
            await connection.execute(self._queries["write_windows"], marks | windows)
        return merged.rowcount + deleted.rowcount

    @asynccontextmanager
    async def exclusive_refresh(self) -> AsyncGenerator[None, None]:
        """Be the only one who brings the district's stored weeks up to date; another one waits until the block ends.

        Whoever lists, reads and writes outside of it may write what was read before an import over what another wrote
        after it.

        Raises:
            DependencyDownError: PostgreSQL does not answer, or the connection that held the lock was lost meanwhile.
        """
        async with self._database.dedicated() as connection:
            await connection.execute(self._queries["keep_idle_session"])
            await connection.execute(self._queries["take_refresh_lock"])
            yield
            await connection.execute(self._queries["release_refresh_lock"])

    async def pending_refresh(
        self, *, contract: FeatureContract, through_week: int, limit: int, after: StudentKey | None = None
    ) -> list[PendingStudent]:
        """Students whose weeks up to `through_week` are not all current, by rising key, at most `limit`, those with
        keys beyond `after` only.
        """
        parameters = {
            "contract_fingerprint": contract.fingerprint,
            "through_week": day_from_number(through_week),
            "limit": limit,
            "after": 0 if after is None else after,
        }
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["pending"], parameters)
            rows = await cursor.fetchall()
        return [PendingStudent(StudentKey(key), revision) for key, revision in rows]

    async def carry_forward(self, *, contract: FeatureContract, through_week: int) -> int:
        """Let the weeks of students who have left, and whose last step is stored, count as current up to
        `through_week`; returns how many students that were. They get no further steps, so there is nothing to compute.
        """
        parameters = {"contract_fingerprint": contract.fingerprint, "through_week": day_from_number(through_week)}
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["carry_forward"], parameters)
        return cursor.rowcount

    async def mark_refreshed(
        self, students: Sequence[PendingStudent], *, contract: FeatureContract, through_week: int
    ) -> None:
        """The weeks of these students are written up to `through_week`. Those that an import touched since they were
        listed stay pending.
        """
        parameters = {
            "keys": [student.student_key for student in students],
            "revisions": [student.revision for student in students],
            "contract_fingerprint": contract.fingerprint,
            "through_week": day_from_number(through_week),
        }
        async with self._database.transaction() as connection:
            await connection.execute(self._queries["mark_through"], parameters)
            await connection.execute(self._queries["leave_queue"], parameters)

    async def _ensure_months(self, block: FeatureBlock) -> None:
        weeks = np.unique(block.week[block.week != PAD])
        months: set[date] = {day_from_number(int(week)).replace(day=1) for week in weeks}
        if months:
            async with self._database.connection() as connection:
                await connection.execute(
                    load_queries("loading")["ensure_months"], {"table": "student_features", "months": sorted(months)}
                )

    async def _school_keys(self, connection: Connection) -> NDArray[Any]:
        cursor = await connection.execute(self._queries["school_keys"], binary=True)
        ((school_keys,),) = await cursor.fetchall()
        return school_keys

    async def _columns(self, connection: Connection, query: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        cursor = await connection.execute(self._queries[query], parameters, binary=True)
        ((*row,),) = await cursor.fetchall()
        names = [column.name for column in cursor.description or ()]
        return {name: values for name, values in zip(names, row, strict=True) if values is not None}
