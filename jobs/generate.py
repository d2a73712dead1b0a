"""`edupulse generate`: write a simulated district as an import folder."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edupulse_ml.simulation.folder import write_folder
from edupulse_ml.simulation.settings import DistrictPlan


def generate(
    students: Annotated[int, typer.Option(help="Students enrolled at the start of each year, 50 or more.")],
    out: Annotated[Path, typer.Option(help="Folder to write; must be new, empty or generated before.")],
    years: Annotated[int, typer.Option(help="Full school years, 1 to 12.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    first_year: Annotated[
        int | None,
        typer.Option(
            help="Year in whose August the first school year starts; the last ends in June 2026 if not given."
        ),
    ] = None,
    through: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Add the next year as far as it was recorded by the end of this day."),
    ] = None,
    intervention: Annotated[
        bool, typer.Option("--intervention", help="Give support to some of those who miss much school.")
    ] = False,
    shift: Annotated[bool, typer.Option("--shift", help="Raise absence from the third year on.")] = False,
) -> None:
    """Write a simulated district of grades 9 to 12 as a folder for `edupulse import csv`.

    The hidden truth behind the records goes to the subfolder `truth`, which imports ignore.
    """
    plan = DistrictPlan(
        students=students,
        years=years,
        seed=seed,
        first_year=first_year,
        through=None if through is None else through.date(),
        intervention=intervention,
        shift=shift,
    )
    console = Console()
    columns = (TextColumn("Writing schools"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("schools", total=plan.schools)
        rows = write_folder(plan, out, progress=lambda done, _total: bar.update(task, completed=done))
    console.print(_summary(rows, out))


def _summary(rows: dict[str, int], out: Path) -> Table:
    table = Table(title=f"Simulated district in {out}")
    table.add_column("table")
    table.add_column("rows", justify="right")
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    return table
