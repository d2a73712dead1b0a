"""The worker that scores chunks: windows from the stores or a folder in, rows to the store or a folder out."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import StudentId, StudentKey
from edupulse_ml.models.strategies import ServableModel
from edupulse_ml.storage.scoring_runs import Chunk, KeyedRows, Origin, ScoredRows, ScoringRun
from jobs.bulk.model_files import ModelFiles
from jobs.bulk.score_files import ScoresDescription, write_scores
from jobs.bulk.store_windows import AsOf, read_enrolled
from jobs.bulk.stores import BulkStores, StoreAddress, open_stores
from jobs.bulk.window_files import read_windows
from jobs.bulk.window_scoring import concatenate_rows, score_rows
from jobs.bulk.work import ChunkDone

ACTOR: Final = "job:score"
ACTION: Final = "score"

SCORED, INSUFFICIENT_DATA = "scored", "insufficient"
"""What a chunk counts."""


@dataclass(frozen=True)
class WindowsFolder:
    """Windows of a folder, all ending by `as_of`."""

    path: Path


@dataclass(frozen=True)
class ScoresFolder:
    """A folder that scores are written to, one file per chunk."""

    path: Path


@dataclass(frozen=True)
class ScoringPlan:
    """How to score chunks. `source` None: the windows of the stores at `stores`; `target` a run of those stores, or a
    folder. `stores` may be None only between folders.
    """

    model: ModelFiles
    as_of: AsOf
    source: WindowsFolder | None
    target: ScoringRun | ScoresFolder
    stores: StoreAddress | None

    @property
    def student_us(self) -> float:
        """Measured with 32 hidden units and 20 weeks (docs/experiments.md)."""
        return 30.0 if self.stores is None else 70.0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator["Scorer", None]:
        """A worker with the model loaded and connections of its own."""
        artifact = await asyncio.to_thread(self.model.load)
        if self.stores is None:
            yield Scorer(self, artifact, None)
            return
        async with open_stores(self.stores) as stores:
            yield Scorer(self, artifact, stores)


@dataclass(frozen=True)
class _Answers:
    """Rows, and whom they are about: by key or, out of a folder, by the district's own id."""

    rows: ScoredRows
    student: Sequence[StudentKey] | pa.Array


class Scorer:
    """`ChunkWorker` of a `ScoringPlan`."""

    def __init__(self, plan: ScoringPlan, artifact: ServableModel, stores: BulkStores | None) -> None:
        self._plan = plan
        self._artifact = artifact
        self._stores = stores

    async def do(self, chunk: Chunk) -> ChunkDone:
        """Score and store one chunk.

        Raises:
            NotFoundError: a folder names a student whom the district does not have; nothing of the chunk is stored.
        """
        source, target = self._plan.source, self._plan.target
        answers = await (self._from_stores(chunk) if source is None else asyncio.to_thread(self._from, source, chunk))
        if isinstance(target, ScoresFolder):
            await self._to_folder(target, chunk, answers)
        else:
            await self._to_store(target, chunk, answers)
        scored = answers.rows.scored
        return ChunkDone(chunk.students, {SCORED: scored, INSUFFICIENT_DATA: len(answers.rows.category) - scored})

    async def _from_stores(self, chunk: Chunk) -> _Answers:
        keys, batch = await read_enrolled(self._opened, chunk, self._plan.as_of)
        rows = await asyncio.to_thread(score_rows, self._artifact, batch, today=self._plan.as_of.today)
        return _Answers(rows, keys)

    def _from(self, source: WindowsFolder, chunk: Chunk) -> _Answers:
        today, rows, student_ids = self._plan.as_of.today, [], []
        for windows in read_windows(source.path, chunk, window_weeks=self._artifact.contract.window_weeks):
            rows.append(score_rows(self._artifact, windows.batch, today=today))
            student_ids.append(windows.student_id)
        return _Answers(concatenate_rows(rows), pa.concat_arrays(student_ids))

    async def _to_store(self, run: ScoringRun, chunk: Chunk, answers: _Answers) -> None:
        stores, student = self._opened, answers.student
        keys = await self._keys_of(student) if isinstance(student, pa.Array) else student
        await stores.runs.save_chunk(
            run,
            chunk,
            KeyedRows(np.asarray(keys, dtype=np.int64), answers.rows),
            origin=Origin(self._artifact.policy.version, ACTOR, ACTION),
            created_at=stores.clock.now(),
        )

    async def _to_folder(self, target: ScoresFolder, chunk: Chunk, answers: _Answers) -> None:
        student = answers.student
        if not isinstance(student, pa.Array):
            student = pa.array(await self._opened.reader.student_ids(student), pa.string())
        described = ScoresDescription(self._plan.model.version, self._artifact.policy.version, self._plan.as_of.moment)
        path = target.path / f"{chunk.name}.parquet"
        await asyncio.to_thread(write_scores, path, student, answers.rows, described)

    async def _keys_of(self, student_id: pa.Array) -> list[StudentKey]:
        asked = [StudentId(name) for name in student_id.to_pylist()]
        found = await self._opened.reader.find_students(asked)
        if len(found) < len(asked):
            raise NotFoundError(
                f"The folder names {len(asked) - len(found)} students of a chunk whom the district does not have: "
                "import their records first, or score to a folder with --to."
            )
        return [found[name] for name in asked]

    @property
    def _opened(self) -> BulkStores:
        if self._stores is None:
            msg = "a plan that reads or writes the district's stores says where they are"
            raise ValueError(msg)
        return self._stores
