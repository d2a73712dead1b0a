"""`edupulse acceptance`: compare a simulated district with what is known of real ones (sources.md 7.2 and 7.4)."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edupulse_ml.connectors.folder import read_folder
from edupulse_ml.connectors.memory import CanonicalRecords, records_from_tables
from edupulse_ml.connectors.rejects import RejectList
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Outcomes
from edupulse_ml.core.sequences import FeatureBlock
from edupulse_ml.core.weeks import NEVER, day_number, week_of_days
from edupulse_ml.simulation.acceptance import AcceptanceRow, Leaving, rate_rows
from edupulse_ml.simulation.folder import PLAN_FILE, TRUTH_FOLDER
from features.compute import compute_features
from jobs.acceptance_models import JudgedDistrict, model_rows

_ZONE: Final = ZoneInfo("America/New_York")
_WEEKLY_LATENTS: Final = ("engagement", "shock", "credit_deficit")
_TRAITS: Final = ("ability", "externalising", "frailty")
_YEARS_FOR_MODELS: Final = 3
_NOT_ACCEPTED: Final = 1


class NotSimulatedError(InvalidInputError):
    """The folder was not written by the generator."""


class BrokenFolderError(InvalidInputError):
    """A file of a generated folder was changed: some of its rows cannot be read."""


@dataclass(frozen=True)
class SimulatedFolder:
    """A generated folder, read back. `leaving_day` [N] and `traits` [N, 3] follow the order of the students."""

    canonical: CanonicalRecords
    race: tuple[str, ...]
    full_years: tuple[int, ...]
    leaving: Leaving
    traits: NDArray[np.float32]
    weekly: pa.Table


def acceptance(
    folder: Annotated[Path, typer.Argument(help="A folder written by `edupulse generate`.")],
    models: Annotated[bool, typer.Option(help="Also compare models; minutes, and at least three full years.")] = True,
) -> None:
    """Compare a simulated district with its targets; exit code 1 if a quantity lies outside its band."""
    console = Console()
    with console.status("Reading the folder"):
        simulated = read_simulated(folder)
    rows = rate_rows(
        simulated.canonical.records, leaving=simulated.leaving, race=simulated.race, years=simulated.full_years
    )
    if models and len(simulated.full_years) >= _YEARS_FOR_MODELS:
        with console.status("Computing features") as status:
            district = judged_district(simulated)
            status.update("Comparing models")
            rows += list(model_rows(district))
    console.print(_rendered(rows, folder))
    if not all(row.ok for row in rows):
        raise typer.Exit(_NOT_ACCEPTED)


def read_simulated(folder: Path) -> SimulatedFolder:
    """Read a generated folder through the ordinary connector, and the truth beside it.

    Raises:
        NotSimulatedError: the folder has no truth.
        BrokenFolderError: a row cannot be read.
    """
    plan_file = folder / TRUTH_FOLDER / PLAN_FILE
    if not plan_file.is_file():
        msg = f"The folder {folder} was not written by `edupulse generate`: {plan_file} is missing."
        raise NotSimulatedError(msg)
    plan = json.loads(plan_file.read_text(encoding="utf-8"))
    tables = _read_tables(folder, last_year=plan["last_full_year"])
    canonical = records_from_tables(tables, zone=_ZONE)
    people = _in_order(pq.read_table(folder / TRUTH_FOLDER / "people.parquet"), canonical.student_ids)
    students = _in_order(tables["students"], canonical.student_ids)
    left = people["leaving_date"].cast(pa.int32()).fill_null(NEVER).to_numpy().astype(np.int32)
    first_full_year = plan["first_full_year"]
    return SimulatedFolder(
        canonical=canonical,
        race=tuple(students["race_ethnicity"].to_pylist()),
        full_years=tuple(range(first_full_year, plan["last_full_year"] + 1)),
        leaving=Leaving(day=left, other_cause=np.array(people["leaving_kind"].to_pylist()) == "other_cause"),
        traits=np.stack([people[name].to_numpy() for name in _TRAITS], axis=1).astype(np.float32),
        weekly=pq.read_table(folder / TRUTH_FOLDER / "weeks.parquet"),
    )


def _read_tables(folder: Path, *, last_year: int) -> dict[str, pa.Table]:
    rejects = RejectList()
    rules = ReadingRules(zone=_ZONE, now=datetime(last_year + 2, 1, 1, tzinfo=UTC))
    tables = {
        file.table.name: pa.concat_tables(list(file.chunks))
        for file in read_folder(folder, rules=rules, rejects=rejects)
    }
    if rejects.rows:
        first = rejects.rows[0]
        msg = (
            f"{len(rejects.rows)} rows of {folder} cannot be read, the first in {first.file}, line {first.line}: "
            f"{first.reason}. Generate the folder again."
        )
        raise BrokenFolderError(msg)
    return tables


def _in_order(rows: pa.Table, student_ids: tuple[str, ...]) -> pa.Table:
    position = {student: index for index, student in enumerate(rows["student_id"].to_pylist())}
    return rows.take(pa.array([position[student] for student in student_ids]))


def judged_district(simulated: SimulatedFolder) -> JudgedDistrict:
    """Features from the product's own library, beside the truth. The truth knows every leaver at once, and nothing
    about students after their last enrolment.
    """
    records = simulated.canonical.records
    last_day = day_number(date(simulated.full_years[-1] + 1, 6, 30))
    through_week = int(week_of_days(np.array([last_day], dtype=np.int32))[0])
    block = compute_features(records, through_week=through_week)
    followed = np.full(records.n_students, -NEVER, dtype=np.int32)
    closed = records.enrollments.exit_day != NEVER
    np.maximum.at(followed, records.enrollments.student[closed], records.enrollments.exit_day[closed] - 1)
    left = simulated.leaving.day
    outcomes = Outcomes(
        event_day=left, followed_until=np.where(left != NEVER, left, followed).astype(np.int32), as_of_day=last_day
    )
    last_exit = followed + 1
    exits = Outcomes(
        event_day=np.where(left != NEVER, last_exit, NEVER).astype(np.int32),
        followed_until=np.where(left != NEVER, last_exit, followed).astype(np.int32),
        as_of_day=last_day,
    )
    half = np.random.default_rng(1).random(records.n_students) < 0.5
    years = (simulated.full_years[0], simulated.full_years[1])
    return JudgedDistrict(block, outcomes, exits, _latents_at_steps(simulated, block), half, years)


def _latents_at_steps(simulated: SimulatedFolder, block: FeatureBlock) -> NDArray[np.float32]:
    """[N, S, 7] engagement, shock, credit deficit, log-odds of leaving now, ability, externalising, frailty."""
    position = {student: index for index, student in enumerate(simulated.canonical.student_ids)}
    weekly = simulated.weekly
    student = np.array([position[name] for name in weekly["student_id"].to_pylist()], dtype=np.int64)
    week = weekly["week"].cast(pa.int32()).to_numpy().astype(np.int64)
    first = int(week.min())
    hazard = weekly["hazard"].to_numpy()
    columns = [weekly[name].to_numpy() for name in _WEEKLY_LATENTS] + [np.log(hazard / (1 - hazard))]
    dense = np.full((len(position), (int(week.max()) - first) // 7 + 1, len(columns)), np.nan, dtype=np.float32)
    dense[student, (week - first) // 7] = np.stack(columns, axis=1)
    column = np.clip((block.week.astype(np.int64) - first) // 7, 0, dense.shape[1] - 1)
    at_steps = dense[np.arange(len(dense))[:, None], column]
    traits = np.broadcast_to(simulated.traits[:, None, :], (*at_steps.shape[:2], simulated.traits.shape[1]))
    return np.concatenate([at_steps, traits], axis=2)


def _rendered(rows: list[AcceptanceRow], folder: Path) -> Table:
    table = Table(title=f"Acceptance of {folder}")
    for name, justify in (("quantity", "left"), ("value", "right"), ("band", "right"), ("ok", "left")):
        table.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType]
    for row in rows:
        table.add_row(
            row.quantity, f"{row.value:.3f}", f"{row.low:g} to {row.high:g}", "yes" if row.ok else "[red]no[/]"
        )
    return table
