"""The import folder: one CSV or Parquet file per canonical table (docs/import-format.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from edupulse_ml.connectors.csv_files import BLOCK_BYTES, UnreadableHeaderError, read_blocks, read_header
from edupulse_ml.connectors.parquet_files import (
    BATCH_ROWS,
    UnreadableParquetError,
    read_batches,
    read_column_names,
)
from edupulse_ml.connectors.rejects import RejectedRow, RejectSink
from edupulse_ml.connectors.table_files import OnProgress, ReadProgress, ReadTally, TableFile, no_progress
from edupulse_ml.connectors.validation import Problem, RawRows, validate
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.tables import TABLES, Table

SUFFIXES: Final = (".csv", ".parquet")


class NoImportFolderError(InvalidInputError):
    """The folder holds nothing to import, or one table twice."""


@dataclass(frozen=True)
class ChunkSize:
    """How much is read at once."""

    csv_bytes: int = BLOCK_BYTES
    parquet_rows: int = BATCH_ROWS


def read_folder(
    path: Path,
    *,
    rules: ReadingRules,
    rejects: RejectSink,
    on_progress: OnProgress = no_progress,
    chunk_size: ChunkSize = ChunkSize(),
) -> Iterator[TableFile]:
    """The tables of a folder, in the order in which they must be loaded.

    A table without a file is skipped. A bad row is rejected and the others go on; so is a whole file whose header
    lacks a required column.

    Args:
        path: the folder; subfolders are not looked at.
        rules: the district's zone and the present moment.
        rejects: receives the bad rows while chunks are consumed.
        on_progress: told after each chunk.
        chunk_size: how much is read at once.

    Raises:
        NoImportFolderError: there is no such folder, none of its files is a table, or a table has two files.
    """
    files = find_files(path)
    return (_Reader(table, file, rules, rejects, on_progress, chunk_size).open() for table, file in files)


def read_file(table: Table, path: Path, *, rules: ReadingRules, rejects: RejectSink) -> TableFile:
    """The rows of one CSV or Parquet file, which may have any name; `table` says what its columns must be.

    Raises:
        NoImportFolderError: there is no such file, or it is of another kind.
    """
    if path.suffix not in SUFFIXES or not path.is_file():
        raise NoImportFolderError(f"There is no file {path} whose name ends in {' or '.join(SUFFIXES)}; name one.")
    return _Reader(table, path, rules, rejects, no_progress, ChunkSize()).open()


def find_files(path: Path) -> Sequence[tuple[Table, Path]]:
    """The files of a folder that are tables, in loading order.

    Raises:
        NoImportFolderError: as for `read_folder`.
    """
    if not path.is_dir():
        raise NoImportFolderError(f"There is no folder {path}; give the folder that holds the CSV or Parquet files.")
    found: list[tuple[Table, Path]] = []
    for table in TABLES:
        candidates = [path / f"{table.name}{suffix}" for suffix in SUFFIXES]
        files = [file for file in candidates if file.is_file()]
        if len(files) > 1:
            names = " and ".join(file.name for file in files)
            raise NoImportFolderError(f"The folder {path} holds {names}, the same table twice; keep one of them.")
        found += [(table, file) for file in files]
    if not found:
        expected = ", ".join(f"{table.name}.csv" for table in TABLES)
        raise NoImportFolderError(
            f"The folder {path} holds none of the expected files: {expected} (or .parquet). "
            "docs/import-format.md describes them."
        )
    return found


class _Reader:
    """Reads one file."""

    def __init__(
        self,
        table: Table,
        path: Path,
        rules: ReadingRules,
        rejects: RejectSink,
        on_progress: OnProgress,
        chunk_size: ChunkSize,
    ) -> None:
        self._table = table
        self._path = path
        self._rules = rules
        self._rejects = rejects
        self._on_progress = on_progress
        self._chunk_size = chunk_size
        self._tally = ReadTally()

    def open(self) -> TableFile:
        """The file's stream; a file that cannot be read at all is rejected here."""
        try:
            header = self._header()
        except (UnreadableHeaderError, UnreadableParquetError) as error:
            return self._refused("", str(error))
        missing = [name for name in self._table.required_columns if name not in header]
        if missing:
            return self._refused(
                missing[0], f"the file has no column {', '.join(map(repr, missing))}, which it must have"
            )
        known = [column.name for column in self._table.columns if column.name in header]
        ignored = tuple(name for name in header if name not in known)
        stream = self._csv_chunks(header, known) if self._path.suffix == ".csv" else self._parquet_chunks(known)
        return TableFile(self._table, self._path.name, stream, self._tally, ignored)

    def _header(self) -> list[str]:
        return read_header(self._path) if self._path.suffix == ".csv" else read_column_names(self._path)

    def _refused(self, column: str, reason: str) -> TableFile:
        self._reject([Problem(1, column, reason)])
        return TableFile(self._table, self._path.name, iter(()), self._tally, readable=False)

    def _csv_chunks(self, header: Sequence[str], known: Sequence[str]) -> Iterator[pa.Table]:
        size = max(self._path.stat().st_size, 1)
        for block in read_blocks(self._path, header, known, block_bytes=self._chunk_size.csv_bytes):
            self._tally.rows_read += block.rows_seen
            yield from self._validated(block.rows, block.problems)
            self._tell(block.bytes_read / size)

    def _parquet_chunks(self, known: Sequence[str]) -> Iterator[pa.Table]:
        try:
            for batch in read_batches(self._path, known, batch_rows=self._chunk_size.parquet_rows):
                self._tally.rows_read += len(batch.rows.lines)
                yield from self._validated(batch.rows, ())
                self._tell(batch.share_read)
        except UnreadableParquetError as error:
            self._tally.rows_read += 1
            self._reject([Problem(error.row, error.column, str(error))])

    def _validated(self, rows: RawRows, line_problems: Sequence[Problem]) -> Iterator[pa.Table]:
        checked = validate(self._table, rows, self._rules)
        self._reject(sorted([*line_problems, *checked.problems], key=lambda problem: problem.line))
        if checked.rows.num_rows:
            yield checked.rows

    def _reject(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            self._rejects.add(RejectedRow(self._path.name, problem.line, problem.column, problem.reason))
        self._tally.rows_rejected += len(problems)

    def _tell(self, share_read: float) -> None:
        self._on_progress(ReadProgress(self._path.name, self._tally.rows_read, min(share_read, 1.0)))
