"""CSV files in blocks: whole blocks through Arrow's parser, and line by line only where a block holds a bad line.

One row is one line, so a bad line spoils itself only and every row keeps its line number. A block goes the slow way
when it is not UTF-8, holds a NUL or a lone carriage return, or does not give one row per line.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from edupulse_ml.connectors.validation import Problem, RawRows

BLOCK_BYTES: Final = 4 * 2**20
MAX_LINE_BYTES: Final = 128 * 2**10
"""No longer than what Python's csv module takes as one field."""
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_OVERSIZE: Final = "the line is longer than 128 KiB"


@dataclass(frozen=True)
class CsvBlock:
    """Rows of one block and the lines that are no rows. `rows_seen` counts both; `bytes_read` is how far in the file
    the block ends.
    """

    rows: RawRows
    problems: Sequence[Problem]
    rows_seen: int
    bytes_read: int


@dataclass(frozen=True)
class _Lines:
    """Complete lines of a file, without the line end of the last; `first` is the number of the first."""

    data: bytes
    first: int
    count: int
    oversize: Sequence[int]
    end: int


class UnreadableHeaderError(ValueError):
    """The first line is no CSV header; the message says why, without the file's name."""


def read_header(path: Path) -> list[str]:
    """Column names in the first line, without surrounding blanks.

    Raises:
        UnreadableHeaderError: there is none, it is not UTF-8, too long, or names a column twice.
    """
    with path.open("rb") as stream:
        line = stream.readline(MAX_LINE_BYTES)
    if not line.strip():
        raise UnreadableHeaderError("the file has no header line")
    if len(line) == MAX_LINE_BYTES:
        raise UnreadableHeaderError("the header line is longer than 128 KiB; is this a CSV file?")
    try:
        text = line.removeprefix(_UTF8_MARK).decode("utf-8")
    except UnicodeDecodeError:
        raise UnreadableHeaderError("the header is not UTF-8; save the file as CSV UTF-8") from None
    fields = _fields(text.rstrip("\r\n"))
    if fields is None:
        raise UnreadableHeaderError("the header holds a quote that is not closed or a character that is not text")
    names = [name.strip() for name in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnreadableHeaderError(f"the header names the column '{twice[0]}' twice")
    return names


def read_blocks(
    path: Path, header: Sequence[str], columns: Sequence[str], *, block_bytes: int = BLOCK_BYTES
) -> Iterator[CsvBlock]:
    """The rows after the header, a block at a time; empty lines are skipped and not counted.

    Args:
        path: the file.
        header: all its columns, in order (`read_header`).
        columns: the columns wanted.
        block_bytes: how much to read at once; a block ends at a line's end.
    """
    parser = _BlockParser(header, columns)
    with path.open("rb") as stream:
        stream.readline(MAX_LINE_BYTES)
        for lines in _complete_lines(stream, block_bytes):
            yield parser.parse(lines)


def _complete_lines(stream: BinaryIO, block_bytes: int) -> Iterator[_Lines]:
    """Cut the rest of the stream at line ends. Of a line longer than `MAX_LINE_BYTES` only its number is kept."""
    line, rest = 2, b""
    oversize: list[int] = []
    skipping = False
    while block := stream.read(block_bytes):
        if skipping:
            _, found, block = block.partition(b"\n")
            if not found:
                continue
            skipping, line = False, line + 1
        whole, cut, rest = (rest + block).rpartition(b"\n")
        if cut:
            count = int(np.count_nonzero(_line_ends(whole))) + 1
            yield _Lines(whole, line, count, oversize, stream.tell())
            line, oversize = line + count, []
        if len(rest) > MAX_LINE_BYTES:
            oversize.append(line)
            rest, skipping = b"", True
    if rest or oversize:
        yield _Lines(rest, line, 1 if rest else 0, oversize, stream.tell())


class _BlockParser:
    """Parses blocks of one file."""

    def __init__(self, header: Sequence[str], columns: Sequence[str]) -> None:
        self._header = list(header)
        self._columns = list(columns)
        self._types: Mapping[str, pa.DataType] = dict.fromkeys(columns, pa.dictionary(pa.int32(), pa.string()))

    def parse(self, lines: _Lines) -> CsvBlock:
        numbers = np.arange(lines.first, lines.first + lines.count, dtype=np.int64)
        problems = [Problem(line, "", _OVERSIZE) for line in lines.oversize]
        parsed = self._parse_exactly(lines.data, lines.count) if _is_plain(lines.data) else None
        if parsed is None:
            parsed, numbers, bad = self._parse_carefully(lines)
            problems += bad
        columns = {name: _one_array(parsed.column(name)) for name in self._columns}
        seen = len(numbers) + len(problems)
        return CsvBlock(RawRows(columns, numbers), problems, rows_seen=seen, bytes_read=lines.end)

    def _parse_exactly(self, data: bytes, count: int) -> pa.Table | None:
        """The rows, if there is exactly one per line."""
        if not count:
            return pa.table({name: pa.array([], kind) for name, kind in self._types.items()})
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(data),
                read_options=arrow_csv.ReadOptions(column_names=self._header, block_size=len(data) + 1),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=False),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=self._types,
                    include_columns=self._columns,
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid:
            return None
        return table if table.num_rows == count else None

    def _parse_carefully(self, lines: _Lines) -> tuple[pa.Table, NDArray[np.int64], list[Problem]]:
        good: list[bytes] = []
        numbers: list[int] = []
        problems: list[Problem] = []
        for number, raw in enumerate(lines.data.split(b"\n"), start=lines.first):
            line = raw.removesuffix(b"\r")
            if not line:
                continue
            fault = self._fault(line)
            if fault is None:
                good.append(line)
                numbers.append(number)
            else:
                problems.append(Problem(number, "", fault))
        table, parsed = self._parse_lines(good, numbers)
        lost = sorted(set(numbers) - set(parsed))
        problems += [Problem(number, "", "the line cannot be read as CSV") for number in lost]
        return table, np.array(parsed, dtype=np.int64), problems

    def _parse_lines(self, lines: list[bytes], numbers: list[int]) -> tuple[pa.Table, list[int]]:
        """Parse lines that look right; halves them until those that Arrow reads otherwise are out."""
        table = self._parse_exactly(b"\n".join(lines), len(lines))
        if table is not None:
            return table, numbers
        if len(lines) == 1:
            return self._parse_lines([], [])
        middle = len(lines) // 2
        left, left_numbers = self._parse_lines(lines[:middle], numbers[:middle])
        right, right_numbers = self._parse_lines(lines[middle:], numbers[middle:])
        return pa.concat_tables([left, right]), left_numbers + right_numbers

    def _fault(self, line: bytes) -> str | None:
        """Why a line is no row, or None."""
        if len(line) > MAX_LINE_BYTES:
            return _OVERSIZE
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            return "the line is not UTF-8; save the file as CSV UTF-8"
        if "\0" in text or "\r" in text:
            return "the line holds a NUL or a carriage return inside a value"
        fields = _fields(text)
        if fields is None:
            return "a quote is not closed on this line (a value may not hold a line break)"
        if len(fields) != len(self._header):
            return f"the line has {len(fields)} fields, the header has {len(self._header)}"
        return None


def _is_plain(data: bytes) -> bool:
    """Whether a block may go through Arrow as it is: UTF-8, no NUL, carriage returns at line ends only, no line that
    is too long.
    """
    if b"\0" in data:
        return False
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n") + data.endswith(b"\r"):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    ends = np.flatnonzero(_line_ends(data))
    return int(np.diff(ends, prepend=-1, append=len(data)).max()) - 1 <= MAX_LINE_BYTES


def _line_ends(data: bytes) -> NDArray[np.bool_]:
    return np.frombuffer(data, dtype=np.uint8) == ord("\n")


def _fields(text: str) -> list[str] | None:
    """The fields of one line, or None where a quote is not closed."""
    try:
        fields = next(csv.reader([text + "\n"]))
    except csv.Error:
        return None
    return None if fields and fields[-1].endswith("\n") else fields


def _one_array(column: pa.ChunkedArray) -> pa.DictionaryArray:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
