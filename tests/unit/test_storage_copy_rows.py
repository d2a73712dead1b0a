"""Rows as binary COPY data, read back by the format's description."""

import struct
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest

from edupulse_ml.storage.copy_rows import (
    COPY_HEADER,
    COPY_TRAILER,
    FixedColumn,
    copy_data,
    encode_rows,
    fixed_column,
    text_column,
)

READ = {"int8": ">q", "int4": ">i", "date": ">i", "timestamptz": ">q", "float4": ">f", "bool": ">?"}


def decoded(data: bytes, kinds: list[str]) -> list[tuple[object, ...]]:
    assert data.startswith(COPY_HEADER)
    assert data.endswith(COPY_TRAILER)
    rows, at, end = [], len(COPY_HEADER), len(data) - len(COPY_TRAILER)
    while at < end:
        (n_fields,) = struct.unpack_from(">h", data, at)
        assert n_fields == len(kinds)
        at += 2
        row: list[object] = []
        for kind in kinds:
            (length,) = struct.unpack_from(">i", data, at)
            at += 4
            value = data[at : at + max(length, 0)]
            at += len(value)
            row.append(
                None if length == -1 else value.decode() if kind == "text" else struct.unpack(READ[kind], value)[0]
            )
        rows.append(tuple(row))
    assert at == end
    return rows


def test_every_kind_with_and_without_missing_values():
    day, moment = date(2000, 1, 3), datetime(1999, 12, 31, 23, 59, 59, 5, tzinfo=UTC)
    columns = [
        FixedColumn("int8", np.array([1, -(2**40), 3])),
        fixed_column("int4", pa.array([None, 7, -7], pa.int64())),
        fixed_column("date", pa.array([day, None, date(1999, 12, 31)])),
        fixed_column("timestamptz", pa.array([moment, None, moment], pa.timestamp("us", tz="UTC"))),
        fixed_column("float4", pa.array([0.5, None, 100.25], pa.float64())),
        fixed_column("bool", pa.array([True, None, False])),
        text_column(pa.array(["", None, 'ä"\n,\\N'])),
        text_column(pa.array([None, None, None], pa.string())),
    ]
    kinds = ["int8", "int4", "date", "timestamptz", "float4", "bool", "text", "text"]
    assert decoded(copy_data([encode_rows(columns, slice(None)).rows(0, 3)]), kinds) == [
        (1, None, 2, -999_995, 0.5, True, "", None),
        (-(2**40), 7, None, None, None, None, None, None),
        (3, -7, -1, -999_995, 100.25, False, 'ä"\n,\\N', None),
    ]


@pytest.mark.parametrize("encode", [pa.Array.dictionary_encode, lambda values: values])
def test_rows_in_another_order_and_in_parts(encode):
    names = ["short", "x" * 200, None, "ÿ", "short"]
    columns = [FixedColumn("int4", np.arange(5)), text_column(encode(pa.array(names)))]
    encoded = encode_rows(columns, np.array([4, 1, 1, 3, 2]))
    expected = [(4, "short"), (1, "x" * 200), (1, "x" * 200), (3, "ÿ"), (2, None)]
    kinds = ["int4", "text"]
    assert decoded(copy_data([encoded.rows(0, 2), encoded.rows(2, 5)]), kinds) == expected
    assert decoded(copy_data([encoded.rows(3, 4)]), kinds) == expected[3:4]


def test_a_slice_of_a_longer_array_keeps_its_own_texts():
    values = pa.array(["aa", "b", None, "cccc", ""])[1:4]
    assert decoded(copy_data([encode_rows([text_column(values)], slice(None)).rows(0, 3)]), ["text"]) == [
        ("b",), (None,), ("cccc",)
    ]  # fmt: skip


def test_no_rows():
    columns = [FixedColumn("int8", np.empty(0, np.int64)), text_column(pa.array([], pa.string()))]
    assert encode_rows(columns, slice(None)).rows(0, 0) == b""


def test_random_columns():
    random = np.random.default_rng(5)
    for _ in range(30):
        n_rows = int(random.integers(1, 40))
        texts = [None if random.random() < 0.2 else "é" * int(random.integers(0, 6)) for _ in range(n_rows)]
        numbers = [None if random.random() < 0.2 else float(np.float32(random.normal())) for _ in range(n_rows)]
        days = [None if random.random() < 0.2 else int(random.integers(-999, 999)) for _ in range(n_rows)]
        columns = [
            text_column(pa.array(texts, pa.string())),
            fixed_column("float4", pa.array(numbers, pa.float64())),
            fixed_column("date", pa.array(days, pa.int32()).cast(pa.date32())),
        ]
        order = random.permutation(n_rows)
        expected = [(texts[at], numbers[at], None if days[at] is None else days[at] - 10_957) for at in order]
        assert decoded(copy_data([encode_rows(columns, order).rows(0, n_rows)]), ["text", "float4", "date"]) == expected
