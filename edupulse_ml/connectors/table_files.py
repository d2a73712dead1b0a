"""What every connector yields: one stream of canonical chunks per table, in loading order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from edupulse_ml.core.tables import Table


@dataclass(frozen=True)
class ReadProgress:
    """How far the reading of one file is. `share_read` is 0-1."""

    file_name: str
    rows_read: int
    share_read: float


OnProgress = Callable[[ReadProgress], None]


def no_progress(progress: ReadProgress) -> None:
    """Tell nobody."""
    del progress


@dataclass
class ReadTally:
    """Counts that grow while chunks are consumed. `rows_read` = rows yielded + rows rejected."""

    rows_read: int = 0
    rows_rejected: int = 0


@dataclass(frozen=True)
class TableFile:
    """The rows of one table.

    `chunks` can be consumed once; every chunk has `schemas.canonical_schema(table)`. `ignored_columns` are those of
    the file that mean nothing to EduPulse. A file that is not `readable` was rejected as a whole and has no chunks.
    """

    table: Table
    file_name: str
    chunks: Iterator[pa.Table]
    tally: ReadTally = field(default_factory=ReadTally)
    ignored_columns: tuple[str, ...] = ()
    readable: bool = True
