"""Rows that were not taken: what is said about them, and the file they are listed in."""

import csv
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

REJECT_HEADER: Final = ("file", "line", "column", "reason")


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
    file is left as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._part = path.with_name(f".{path.name}.part")

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._part.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream)
        self._writer.writerow(REJECT_HEADER)
        return self

    def add(self, row: Rejection) -> None:
        self._writer.writerow((row.file, row.line, row.column, row.reason))
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if error is None:
            self._part.replace(self.path)
        else:
            self._part.unlink(missing_ok=True)


def masked(value: str) -> str:
    """What a reason may show of a value: its first character, and of a short one nothing.

    >>> masked("s-10482"), masked("x7")
    ('s***', '***')
    """
    return f"{value[0]}***" if len(value) > 2 and value[0].isprintable() else "***"
