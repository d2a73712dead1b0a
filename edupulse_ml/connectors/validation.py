"""Raw rows of one file -> canonical rows and rejected rows. Vectorised: a chunk without bad rows costs no Python work
per row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.connectors.checks import contradictions, with_conclusions
from edupulse_ml.connectors.schemas import ARROW_TYPES, canonical_schema, constant_column, fill_defaults
from edupulse_ml.connectors.values import ReadingRules, parse_values
from edupulse_ml.core.tables import Column, Table


@dataclass(frozen=True)
class RawRows:
    """Rows as a file holds them. `columns` are dictionary-encoded, by canonical column name, only those the file has.
    `lines` [R] says where each row stands in the file.
    """

    columns: Mapping[str, pa.DictionaryArray]
    lines: NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """Why the row at `line` was not taken."""

    line: int
    column: str
    reason: str


@dataclass(frozen=True)
class Validated:
    """The canonical chunk and what was left out of it: one problem per bad row, the first in column order;
    in no order of rows.
    """

    rows: pa.Table
    problems: Sequence[Problem]


class _Ledger:
    """The first problem of each row."""

    def __init__(self, lines: NDArray[np.int64]) -> None:
        self.lines = lines
        self.bad = np.zeros(len(lines), dtype=np.bool_)
        self.problems: list[Problem] = []

    def reject(self, rows: NDArray[np.bool_], column: str, reason: str) -> None:
        """Reject rows that have no problem yet."""
        fresh = rows & ~self.bad
        self.bad |= fresh
        self.problems += [Problem(int(line), column, reason) for line in self.lines[fresh]]


def validate(table: Table, raw: RawRows, rules: ReadingRules) -> Validated:
    """Check and convert rows.

    Returns:
        The good rows in file order, with `canonical_schema(table)`: aliases and defaults applied, what follows from
        other columns filled in. And one problem per bad row.
    """
    ledger = _Ledger(raw.lines)
    arrays = [_column_values(column, raw, rules, ledger) for column in table.columns]
    rows = pa.table([*arrays, pa.array(raw.lines)], schema=canonical_schema(table))
    for found in contradictions(table, rows, rules.zone):
        if found.rows.any():
            ledger.reject(found.rows, found.column, found.reason)
    if ledger.bad.any():
        rows = rows.filter(pa.array(~ledger.bad))
    return Validated(with_conclusions(table, rows, rules.zone), ledger.problems)


def _column_values(column: Column, raw: RawRows, rules: ReadingRules, ledger: _Ledger) -> pa.Array:
    encoded = raw.columns.get(column.name)
    if encoded is None:
        return constant_column(column, len(raw.lines))
    parsed = parse_values(column, encoded.dictionary, rules)
    if parsed.problems:
        _reject_values(column, encoded, parsed.problems, ledger)
    values = parsed.values.take(encoded.indices)
    if column.required and values.null_count:
        empty = values.is_null().to_numpy(zero_copy_only=False)
        ledger.reject(empty, column.name, f"column '{column.name}' is empty")
    return fill_defaults(column, values).cast(ARROW_TYPES[column.kind])


def _reject_values(column: Column, encoded: pa.DictionaryArray, problems: Mapping[int, str], ledger: _Ledger) -> None:
    missing = len(encoded.dictionary)
    position = encoded.indices.cast(pa.int64()).fill_null(missing).to_numpy()
    is_problem = np.zeros(missing + 1, dtype=np.bool_)
    is_problem[list(problems)] = True
    fresh = is_problem[position] & ~ledger.bad
    ledger.bad |= fresh
    ledger.problems += [
        Problem(line, column.name, problems[at])
        for line, at in zip(ledger.lines[fresh].tolist(), position[fresh].tolist(), strict=True)
    ]
