"""PostgreSQL arrays as NumPy arrays, and rows of NumPy columns as binary COPY data, without a Python loop per value.

The binary form of an array is `ndim, has_null, element type`, then `length, lower bound` per dimension, then per
element a 4-byte length and the value; elements of fixed width therefore lie at a fixed stride.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format

_HEADER_BYTES: Final = 12
_DIMENSION_BYTES: Final = 8
_COPY_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_TRAILER: Final = b"\xff\xff"
_POSTGRES_EPOCH_DAY: Final = 10_957
"""2000-01-01 as a day number; PostgreSQL counts dates and moments from there."""

_ELEMENTS: Final[Mapping[str, tuple[int, str]]] = {
    "bool": (16, "?"),
    "int8": (20, ">i8"),
    "int2": (21, ">i2"),
    "int4": (23, ">i4"),
    "float4": (700, ">f4"),
    "float8": (701, ">f8"),
    "timestamptz": (1184, ">i8"),
}
_ARRAY_OIDS: Final = {
    "bool": 1000,
    "int2": 1005,
    "int4": 1007,
    "int8": 1016,
    "float4": 1021,
    "float8": 1022,
    "timestamptz": 1185,
}


def parse_array(data: bytes | memoryview, dtype: str) -> NDArray[np.generic]:
    """The values of a binary array without NULL elements, in native byte order, with the array's dimensions.

    Raises:
        ValueError: an element is NULL.
    """
    dimensions, has_null = (int(number) for number in np.frombuffer(data, dtype=">i4", count=2))
    if has_null:
        msg = "an array with NULL elements has no fixed stride; coalesce in the query"
        raise ValueError(msg)
    if dimensions == 0:
        return np.empty(0, dtype=np.dtype(dtype).newbyteorder("="))
    bounds = np.frombuffer(data, dtype=">i4", count=2 * dimensions, offset=_HEADER_BYTES)
    shape = tuple(int(length) for length in bounds[0::2])
    element = np.dtype([("length", ">i4"), ("value", dtype)])
    elements = np.frombuffer(data, dtype=element, offset=_HEADER_BYTES + _DIMENSION_BYTES * dimensions)
    return elements["value"].astype(np.dtype(dtype).newbyteorder("=")).reshape(shape)


def _loader(dtype: str) -> type[Loader]:
    class ArrayLoader(Loader):
        format = Format.BINARY

        def load(self, data: Buffer) -> NDArray[np.generic]:
            return parse_array(cast("memoryview", data), dtype)

    return ArrayLoader


_LOADERS: Final = {_ARRAY_OIDS[name]: _loader(dtype) for name, (_, dtype) in _ELEMENTS.items()}


def register_array_loaders(adapters: AdaptersMap) -> None:
    """Read arrays of numbers, booleans and moments (microseconds since 2000-01-01 UTC) as NumPy arrays when a cursor
    asks for binary results.
    """
    for oid, loader in _LOADERS.items():
        adapters.register_loader(oid, loader)


def encode_rows(columns: Sequence[tuple[str, NDArray[np.generic]]]) -> bytes:
    """Rows for `COPY ... FROM STDIN (FORMAT binary)`.

    Each column is `(element type, values)`, the type one of int2, int4, int8, float4, float8, bool or date (a day number);
    values [R] become a scalar column, values [R, K] a column of arrays of K elements.
    """
    n_rows = len(columns[0][1])
    fields: list[tuple[str, object]] = [("n_fields", ">i2")]
    for index, (kind, values) in enumerate(columns):
        fields.append((f"length{index}", ">i4"))
        fields.append((f"value{index}", _field_type(kind, values)))
    rows = np.zeros(n_rows, dtype=np.dtype(fields))
    rows["n_fields"] = len(columns)
    for index, (kind, values) in enumerate(columns):
        rows[f"length{index}"] = rows.dtype[f"value{index}"].itemsize
        _fill(rows[f"value{index}"], kind, values)
    return _COPY_SIGNATURE + rows.tobytes() + _COPY_TRAILER


def _field_type(kind: str, values: NDArray[np.generic]) -> object:
    scalar = ">i4" if kind == "date" else _ELEMENTS[kind][1]
    if values.ndim == 1:
        return np.dtype(scalar)
    element = np.dtype([("length", ">i4"), ("value", scalar)])
    return np.dtype([("header", ">i4", (5,)), ("elements", element, (values.shape[1],))])


def _fill(target: NDArray[Any], kind: str, values: NDArray[np.generic]) -> None:
    if values.ndim == 1:
        target[:] = values.astype(np.int32) - _POSTGRES_EPOCH_DAY if kind == "date" else values
        return
    oid, dtype = _ELEMENTS[kind]
    target["header"] = np.array([1, 0, oid, values.shape[1], 1])
    target["elements"]["length"] = np.dtype(dtype).itemsize
    target["elements"]["value"] = values
