"""Rows that were not taken: what is said about them, and the file they are listed in."""

import csv
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from edupulse_ml.core.errors import EduPulseError, InvalidInputError

REJECT_HEADER: Final = ("file", "line", "column", "reason")


class RejectsPathError(InvalidInputError):
    """The list of rejected rows cannot be written where it was asked for; nothing was imported."""

    title = "Rejects file cannot be written"


class RejectsNotListedError(EduPulseError):
    """The import succeeded, but the list of its rejected rows could not take its name."""

    title = "Rejects file not replaced"


class Rejection(Protocol):
    """A row that was not taken, by a connector or by the store."""

    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> str: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True)
class RejectedRow:
    """One row that was not taken. `column` is empty where the row as a whole is at fault. `reason` is a sentence; it
    shows no value of the row beyond its first character.
    """

    file: str
    line: int
    column: str
    reason: str


class RejectSink(Protocol):
    """Where connectors put rejected rows."""

    def add(self, row: Rejection) -> None: ...


class RejectList:
    """Keeps rejected rows in memory, in the order in which they came."""

    def __init__(self) -> None:
        self.rows: list[Rejection] = []

    def add(self, row: Rejection) -> None:
        self.rows.append(row)


class RejectFile:
    """Writes rejected rows as CSV (`file,line,column,reason`) while they come.

    Use it as a context manager. The file appears under its name, complete, when the block ends without an error,
    also when nothing was rejected (a header only): it always speaks of the latest import. After an error an older
    file is left as it was. Only its owner may read it.

    Raises:
        RejectsPathError: at the start of the block, when the file cannot be written there.
        RejectsNotListedError: at the end of the block, when the file cannot take its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0

    def __enter__(self) -> Self:
        if self.path.is_dir():
            raise RejectsPathError(f"{self.path} is a folder: name a file for the rejected rows.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A name of its own: another import may be writing its list for the same path.
            number, part = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=".part", dir=self.path.parent)
        except OSError as error:
            raise RejectsPathError(
                f"The rejected rows cannot be listed in {self.path} ({error.strerror}): name a file in a folder that"
                " can be written to."
            ) from error
        self._part = Path(part)
        self._stream = os.fdopen(number, "w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream)
        self._writer.writerow(REJECT_HEADER)
        return self

    def add(self, row: Rejection) -> None:
        self._writer.writerow((row.file, row.line, row.column, row.reason))
        self.count += 1

    def finish(self) -> None:
        """No more rows follow. Call it while the import can still be undone: a full disk shows here.

        Raises:
            RejectsPathError: the rows could not be written.
        """
        try:
            self._stream.close()
        except OSError as error:
            raise RejectsPathError(
                f"The rejected rows could not be listed in {self.path} ({error.strerror}), so nothing was imported: mend"
                " that or name another file."
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stream.close()
            if error is None:
                self._part.replace(self.path)
        except OSError as failure:
            if error is None:
                raise RejectsNotListedError(
                    f"The records are stored, but their rejected rows could not be listed in {self.path}"
                    f" ({failure.strerror}): mend that and import again, which changes nothing but the list."
                ) from failure
        finally:
            self._part.unlink(missing_ok=True)


def masked(value: str) -> str:
    """What a reason may show of a value: its first character, and of a short one nothing.

    >>> masked("s-10482"), masked("x7")
    ('s***', '***')
    """
    return f"{value[0]}***" if len(value) > 2 and value[0].isprintable() else "***"
