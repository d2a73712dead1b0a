"""Canonical Arrow columns -> the NumPy columns of `core.records`."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from edupulse_ml.connectors.arrow_compute import pc
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.records import Bool, Float32, Int8, Int32
from edupulse_ml.core.weeks import NEVER


class UnresolvedReferenceError(InvalidInputError):
    """A row names a student, school or missing value that the other tables do not explain."""


def day_numbers(dates: pa.ChunkedArray) -> Int32:
    """Day numbers of a date column, `NEVER` where missing."""
    return dates.cast(pa.int32()).fill_null(NEVER).to_numpy()


def numbers(values: pa.ChunkedArray) -> Float32:
    """A number column, NaN where missing."""
    return values.fill_null(np.nan).to_numpy().astype(np.float32)


def flags(values: pa.ChunkedArray) -> Bool:
    """A boolean column, false where missing."""
    return values.fill_null(False).to_numpy()  # noqa: FBT003


def small_integers(values: pa.ChunkedArray) -> Int8:
    """An integer column without missing values, of small numbers."""
    return values.to_numpy().astype(np.int8)


def choice_codes(values: pa.ChunkedArray, choices: Sequence[str]) -> Int8:
    """Positions in a closed vocabulary, -1 where missing."""
    return pc.index_in(values, value_set=pa.array(choices)).fill_null(-1).to_numpy().astype(np.int8)


def reference_codes(values: pa.ChunkedArray, known: pa.Array, *, what: str) -> Int32:
    """Positions of identifiers in `known`.

    Raises:
        UnresolvedReferenceError: some are not in it; `what` names their kind.
    """
    codes = pc.index_in(values, value_set=known)
    if codes.null_count:
        raise UnresolvedReferenceError(
            f"{codes.null_count} rows name a {what} that its own table does not hold; add it there."
        )
    return codes.to_numpy().astype(np.int32)


def distinct(columns: Iterable[pa.ChunkedArray]) -> pa.Array:
    """The distinct texts of several columns, sorted: position = code."""
    chunks = [chunk for column in columns for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.string()).unique().sort()
