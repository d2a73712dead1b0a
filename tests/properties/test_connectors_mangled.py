"""However a CSV file is mangled, reading does not raise, and every row is either taken or rejected."""

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.connectors.folder import ChunkSize, read_folder
from edupulse_ml.connectors.rejects import RejectList
from edupulse_ml.connectors.values import ReadingRules

RULES = ReadingRules(ZoneInfo("America/New_York"), datetime(2026, 11, 1, 12, tzinfo=UTC))
HEADER = b"student_id,date,status,fraction_absent,recorded_at"
ROW = b"stu-1,2025-09-02,present,0.5,2025-09-02T15:10:00-04:00"

fragments = st.sampled_from(
    [
        b",",
        b'"',
        b'""',
        b"\r",
        b"\n",
        b"\r\n",
        b"\0",
        b" ",
        b"\t",
        b"\xff",
        "é".encode(),
        b"2025-09-02",
        b"absent",
        b"-1",
    ]
)
lines = st.one_of(
    st.just(ROW),
    st.binary(max_size=30),
    st.lists(fragments, max_size=12).map(b"".join),
    st.tuples(st.integers(0, len(ROW)), fragments).map(lambda cut: ROW[: cut[0]] + cut[1] + ROW[cut[0] :]),
)


def read(content: bytes, *, csv_bytes: int = 2**20):
    rejects = RejectList()
    with TemporaryDirectory() as folder:
        (Path(folder) / "attendance_records.csv").write_bytes(content)
        (file,) = read_folder(Path(folder), rules=RULES, rejects=rejects, chunk_size=ChunkSize(csv_bytes=csv_bytes))
        rows = [row for chunk in file.chunks for row in chunk.to_pylist()]
    return rows, rejects.rows, file.tally


@settings(max_examples=300, deadline=None)
@given(st.lists(lines, max_size=8), st.sampled_from([b"\n", b"\r\n"]))
def test_every_line_is_taken_or_rejected(body, line_end):
    content = line_end.join([HEADER, *body])
    rows, rejects, tally = read(content)
    physical = content.split(b"\n")[1:]
    expected = [number for number, line in enumerate(physical, start=2) if line.removesuffix(b"\r")]
    assert sorted([row["line"] for row in rows] + [reject.line for reject in rejects]) == expected
    assert tally.rows_read == len(rows) + len(rejects) == len(expected)
    assert tally.rows_rejected == len(rejects)


@settings(max_examples=150, deadline=None)
@given(st.lists(lines, max_size=8), st.integers(1, 200))
def test_the_size_of_a_block_changes_nothing(body, csv_bytes):
    content = b"\n".join([HEADER, *body])
    rows, rejects, _ = read(content, csv_bytes=csv_bytes)
    whole_rows, whole_rejects, _ = read(content)
    assert rows == whole_rows
    assert rejects == whole_rejects


@settings(max_examples=150, deadline=None)
@given(st.lists(lines, min_size=1, max_size=6))
def test_a_bad_line_does_not_change_the_good_ones(body):
    body = [line.replace(b"\n", b"") for line in body]
    alone, _, _ = read(b"\n".join([HEADER, ROW]))
    rows, _, _ = read(b"\n".join([HEADER, ROW, *body, ROW]))
    good = [{**row, "line": 0} for row in rows if row["line"] in (2, len(body) + 3)]
    assert good == [{**alone[0], "line": 0}] * 2


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_do_not_raise(content):
    read(content)


texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\x7f"), min_size=1, max_size=20
).filter(lambda text: text == text.strip(" \t\n\r\x0b\x0c"))


@settings(max_examples=150, deadline=None)
@given(st.lists(texts, min_size=1, max_size=6))
def test_well_formed_identifiers_come_back_as_they_were(identifiers):
    stream = io.StringIO()
    csv.writer(stream).writerows([[name, "2025-09-02", "tardy", "", ""] for name in identifiers])
    rows, rejects, _ = read(HEADER + b"\n" + stream.getvalue().encode())
    assert [row["student_id"] for row in rows] == identifiers
    assert rejects == []


@settings(max_examples=100, deadline=None)
@given(texts.filter(lambda text: len(text) > 3))
def test_a_reason_never_shows_the_value(secret):
    stream = io.StringIO()
    csv.writer(stream).writerow(["stu-1", secret, secret, secret, secret])
    _, rejects, _ = read(HEADER + b"\n" + stream.getvalue().encode())
    assert len(rejects) == 1
    assert secret not in rejects[0].reason.replace("YYYY-MM-DD", "").replace("ISO date", "")
