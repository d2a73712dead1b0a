"""A folder of one Parquet file per chunk, filled in any order by any number of workers, and continued after a kill.

`_run.json` says what the folder holds, from its beginning, and once it is complete what it adds up to. A chunk is done
when its file has its name: files are written under another one, flushed to the disk and renamed. Programs that read
folders of Parquet pass over names that begin with an underscore or a dot.
"""

import fcntl
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from edupulse_ml.core.errors import ConflictError, InvalidInputError

RUN_FILE: Final = "_run.json"
_LOCK_FILE: Final = ".lock"
_UNFINISHED: Final = ".unfinished"


@dataclass(frozen=True)
class ChunkFolder:
    """A folder and what it is to hold. `identity` is JSON; two runs of the same identity write the same folder."""

    path: Path
    identity: Mapping[str, Any]

    @contextmanager
    def exclusive(self) -> Generator[None, None, None]:
        """Be the only run that fills the folder; another one waits until the block ends or its process dies.

        Raises:
            InvalidInputError: the folder cannot be created.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise InvalidInputError(f"{self.path} cannot be made a folder: name another one.") from error
        with (self.path / _LOCK_FILE).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def begin(self, *, again: bool) -> dict[str, Any] | None:
        """Prepare the folder inside `exclusive`; the totals of an earlier run where that has finished all of it.
        `again` throws away what is there first.

        Raises:
            ConflictError: the folder holds something else.
        """
        found = read_run(self.path)
        if found is not None and (again or found["identity"] != _as_json(self.identity)):
            if not again:
                differing = sorted(k for k, v in _as_json(self.identity).items() if found["identity"].get(k) != v)
                raise ConflictError(
                    f"{self.path} holds another run's files (other {', '.join(differing)}): name another folder, or "
                    "pass --again to replace them."
                )
            self._clear()
            found = None
        elif found is None and any(self.path.glob("*.parquet")):
            raise ConflictError(f"{self.path} holds Parquet files of something else: name another folder.")
        for left in self.path.glob(f"*{_UNFINISHED}"):
            left.unlink(missing_ok=True)
        if found is None:
            self._note(None)
            return None
        return found["totals"]

    def missing(self, names: Sequence[str]) -> set[str]:
        """Those of the chunks that have no file yet."""
        return set(names) - {file.stem for file in self.path.glob("*.parquet")}

    def finish(self, totals: Mapping[str, Any]) -> None:
        """Say that the folder is complete."""
        self._note(totals)

    def _note(self, totals: Mapping[str, Any] | None) -> None:
        text = json.dumps({"identity": self.identity, "totals": totals}, indent=1)
        with renamed_when_whole(self.path / RUN_FILE) as unfinished:
            unfinished.write_text(text, encoding="utf-8")

    def _clear(self) -> None:
        (self.path / RUN_FILE).unlink(missing_ok=True)
        for file in self.path.glob("*.parquet"):
            file.unlink()


def read_run(folder: Path) -> dict[str, Any] | None:
    """`identity` and `totals` (None: not complete) of a folder; None where it is not one of ours."""
    file = folder / RUN_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def value_to_continue_with(folder: Path, identity: Mapping[str, Any], *, field: str) -> str | None:
    """`field` of the run that a folder holds, where that run has the same identity but for this field: whoever
    continues it takes it over. None where there is no such run.
    """
    found = read_run(folder)
    if found is None or field not in found["identity"]:
        return None
    same = {**_as_json(identity), field: found["identity"][field]} == found["identity"]
    return found["identity"][field] if same else None


def write_table(table: pa.Table, path: Path, *, rows_per_group: int, compression: str) -> None:
    """Write a Parquet file that is either whole or not there. Plain encoding and no statistics: the columns are read
    whole, and as they lie.
    """
    with (
        renamed_when_whole(path) as unfinished,
        pq.ParquetWriter(
            unfinished, table.schema, compression=compression, use_dictionary=False, write_statistics=False
        ) as writer,
    ):
        writer.write_table(table, row_group_size=rows_per_group)


@contextmanager
def renamed_when_whole(path: Path) -> Generator[Path, None, None]:
    """A path to write to, which becomes `path` when the block ends without an error."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}{_UNFINISHED}")
    try:
        yield unfinished
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _as_json(identity: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(identity))
