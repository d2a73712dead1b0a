"""Canonical tables into a store: one session, one summary, one rejects file."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from edupulse_ml.connectors.folder import read_folder
from edupulse_ml.connectors.oulad import read_oulad
from edupulse_ml.connectors.rejects import RejectFile, Rejection
from edupulse_ml.connectors.table_files import OnProgress, TableFile, no_progress
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.ids import StudentId


class Loaded(Protocol):
    """What a store did with the rows of one file: every row is inserted, updated, unchanged, or named in `rejects`, there
    once per fault.
    """

    @property
    def inserted(self) -> int: ...
    @property
    def updated(self) -> int: ...
    @property
    def unchanged(self) -> int: ...
    @property
    def rejects(self) -> Sequence[Rejection]: ...


class LoadSession(Protocol):
    """One import in progress, and one transaction: leaving it without an error makes everything visible at once."""

    @property
    def touched_students(self) -> Sequence[StudentId]:
        """Students whose records changed; known once the session has ended."""
        ...

    async def load(self, table_name: str, file_name: str, chunks: Iterator[pa.Table]) -> Loaded:
        """Merge the rows of one table; `chunks` have `schemas.canonical_schema`."""
        ...


class RecordLoader(Protocol):
    """Opens import sessions. `source` says in the store's books what was imported."""

    def session(self, source: str) -> AbstractAsyncContextManager[LoadSession]: ...


@dataclass(frozen=True)
class FileSummary:
    """What became of the rows of one file: `read` = inserted + updated + unchanged + rejected, except that a file
    rejected as a whole counts as one rejection and no row.
    """

    table: str
    file_name: str
    read: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    ignored_columns: tuple[str, ...]


@dataclass(frozen=True)
class ImportSummary:
    """What became of an import, per file in loading order. `rejects_path` lists the rejected rows. The cached answers
    of `touched_students` are out of date.
    """

    files: tuple[FileSummary, ...]
    rejects_path: Path
    touched_students: tuple[StudentId, ...]

    @property
    def rejected(self) -> int:
        """Rejected rows in all files; an entry point's exit code depends on whether there are any."""
        return sum(file.rejected for file in self.files)

    @property
    def changed(self) -> int:
        """Rows inserted or updated in all files."""
        return sum(file.inserted + file.updated for file in self.files)


async def import_folder(
    loader: RecordLoader,
    path: Path,
    *,
    rules: ReadingRules,
    rejects_path: Path,
    on_progress: OnProgress = no_progress,
) -> ImportSummary:
    """Import a folder of CSV or Parquet files (docs/import-format.md).

    Args:
        loader: the store.
        path: the folder.
        rules: the district's zone and the present moment.
        rejects_path: where the rejected rows are listed; replaced when the import has succeeded.
        on_progress: told after each chunk.

    Raises:
        NoImportFolderError: the folder holds nothing to import; nothing was changed.
        RejectsPathError: `rejects_path` cannot be written; nothing was changed.
        RejectsNotListedError: the records are stored, but `rejects_path` could not be replaced.
    """
    with RejectFile(rejects_path) as rejects:
        files = read_folder(path, rules=rules, rejects=rejects, on_progress=on_progress)
        async with loader.session(f"folder {path.name}") as session:
            summaries = await _load_all(session, files, rejects)
    return ImportSummary(summaries, rejects_path, tuple(session.touched_students))


async def import_oulad(
    loader: RecordLoader,
    path: Path,
    *,
    presentations: Sequence[str],
    rejects_path: Path,
    on_progress: OnProgress = no_progress,
) -> ImportSummary:
    """Import OULAD presentations; arguments and result as for `import_folder`.

    Raises:
        OuladFilesError: files or presentations are missing; nothing was changed.
    """
    with RejectFile(rejects_path) as rejects:
        files = read_oulad(path, presentations=presentations, on_progress=on_progress)
        async with loader.session(f"OULAD {', '.join(presentations)}") as session:
            summaries = await _load_all(session, files, rejects)
    return ImportSummary(summaries, rejects_path, tuple(session.touched_students))


async def _load_all(session: LoadSession, files: Iterable[TableFile], rejects: RejectFile) -> tuple[FileSummary, ...]:
    summaries = tuple([await _load(session, file, rejects) for file in files])
    rejects.finish()
    return summaries


async def _load(session: LoadSession, file: TableFile, rejects: RejectFile) -> FileSummary:
    inserted = updated = unchanged = refused = 0
    if file.readable:
        loaded = await session.load(file.table.name, file.file_name, file.chunks)
        for row in loaded.rejects:
            rejects.add(row)
        inserted, updated, unchanged = loaded.inserted, loaded.updated, loaded.unchanged
        refused = len({row.line for row in loaded.rejects})
    return FileSummary(
        table=file.table.name,
        file_name=file.file_name,
        read=file.tally.rows_read,
        inserted=inserted,
        updated=updated,
        unchanged=unchanged,
        rejected=file.tally.rows_rejected + refused,
        ignored_columns=file.ignored_columns,
    )
