"""Writes a plan's records as an import folder."""

import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.feedback import FEEDBACK_FILE
from edupulse_ml.core.tables import TABLES, Table
from edupulse_ml.simulation.district import build_district
from edupulse_ml.simulation.records import RecordChunk, record_chunks, shared_tables
from edupulse_ml.simulation.settings import DistrictPlan

TRUTH_FOLDER: Final = "truth"
PLAN_FILE: Final = "plan.json"
SUPPORT_FILE: Final = "feedback.csv"
"""Written where support is given; `edupulse import feedback` reads it."""
_OWN_NAMES: Final = frozenset({TRUTH_FOLDER, SUPPORT_FILE, *(f"{table.name}.csv" for table in TABLES)})

Progress = Callable[[int, int], None]
"""Called with schools done and schools in all."""


class FolderNotEmptyError(InvalidInputError):
    """The output folder holds files that the generator did not write."""


def _ignore_progress(_done: int, _total: int) -> None:
    return None


def written_plan(folder: Path) -> DistrictPlan | None:
    """The plan of the district that the generator wrote to `folder`, None if it wrote none there."""
    path = folder / TRUTH_FOLDER / PLAN_FILE
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    through = stored.pop("through")
    return DistrictPlan(**stored, through=None if through is None else date.fromisoformat(through))


def write_folder(plan: DistrictPlan, out: Path, *, progress: Progress = _ignore_progress) -> dict[str, int]:
    """Write one CSV file per table to `out`, and the hidden truth to its subfolder `truth`, which imports ignore.

    The folder appears whole or not at all; one that the generator wrote before is replaced.

    Returns:
        Rows written, by table name.

    Raises:
        FolderNotEmptyError: `out` holds something else.
    """
    out = out.absolute()
    _require_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        partial = Path(scratch) / "new"
        rows = _write(plan, partial, progress=progress)
        if out.exists():
            out.rename(Path(scratch) / "old")
        partial.rename(out)
    return rows


def _require_replaceable(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        msg = f"{out} is a file; name a folder to write the district to."
        raise FolderNotEmptyError(msg)
    present = {path.name for path in out.iterdir()}
    generated = (out / TRUTH_FOLDER / PLAN_FILE).is_file() and present <= _OWN_NAMES
    if present and not generated:
        msg = f"The folder {out} holds files that the generator did not write; name a new or empty folder."
        raise FolderNotEmptyError(msg)


def _write(plan: DistrictPlan, folder: Path, *, progress: Progress) -> dict[str, int]:
    truth = folder / TRUTH_FOLDER
    truth.mkdir(parents=True)
    (truth / PLAN_FILE).write_text(_described(plan), encoding="utf-8")
    district = build_district(plan)
    rows = dict.fromkeys((table.name for table in TABLES), 0)
    with ExitStack() as stack:
        files = {table.name: stack.enter_context((folder / f"{table.name}.csv").open("wb")) for table in TABLES}
        if plan.intervention:
            files[SUPPORT_FILE] = stack.enter_context((folder / SUPPORT_FILE).open("wb"))
            files[SUPPORT_FILE].write(_header(FEEDBACK_FILE))
        for table in TABLES:
            files[table.name].write(_header(table))
        for name, table in shared_tables(district):
            rows[name] += _append(files[name], table)
        writers: dict[str, pq.ParquetWriter] = {}
        for done, chunk in enumerate(record_chunks(district), start=1):
            for name, table in chunk.tables.items():
                rows[name] += _append(files[name], table)
            if plan.intervention:
                _append(files[SUPPORT_FILE], chunk.support)
            _append_truth(stack, writers, chunk, truth)
            progress(done, district.schools.n_schools)
    return rows


def _header(table: Table) -> bytes:
    return (",".join(column.name for column in table.columns) + "\n").encode()


def _described(plan: DistrictPlan) -> str:
    through = None if plan.through is None else plan.through.isoformat()
    spans = {"first_full_year": plan.opening_year, "last_full_year": plan.year_after - 1}
    return json.dumps({**asdict(plan), "through": through, **spans}, indent=2) + "\n"


def _append(file: BinaryIO, table: pa.Table) -> int:
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    pa_csv.write_csv(_with_written_moments(table), file, write_options=options)
    return table.num_rows


def _with_written_moments(table: pa.Table) -> pa.Table:
    """Moments as ISO 8601 text with their offset. Formatting the few distinct ones is a hundred times faster."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            encoded = table.column(index).combine_chunks().dictionary_encode()
            text = pc.strftime(encoded.dictionary.cast(pa.timestamp("s", tz="UTC")), format="%Y-%m-%dT%H:%M:%SZ")  # pyright: ignore[reportAttributeAccessIssue]
            written = pc.take(text, encoded.indices)  # pyright: ignore[reportAttributeAccessIssue]
            table = table.set_column(index, field.name, written)
    return table


def _append_truth(stack: ExitStack, writers: dict[str, pq.ParquetWriter], chunk: RecordChunk, truth: Path) -> None:
    for name, table in (("people", chunk.people), ("weeks", chunk.weeks)):
        if name not in writers:
            writers[name] = stack.enter_context(pq.ParquetWriter(truth / f"{name}.parquet", table.schema))
        writers[name].write_table(table)
