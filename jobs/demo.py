"""`edupulse demo`: the main job from an empty folder to explained scores over HTTP."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import ConflictError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.simulation.settings import DistrictPlan
from jobs.progress import progress_bars
from jobs.stack.paths import StackPaths

if TYPE_CHECKING:
    from edupulse_ml.client import ScoredStudent
    from edupulse_ml.training.options import TrainingOptions
    from jobs.stack.up import RunningStack

_SETTLED_YEARS: Final = 3
"""One to train on, one to calibrate on, one to test on (docs/evaluation.md)."""
_JUNE, _JULY, _SEPTEMBER, _OCTOBER = 6, 7, 9, 10
_SHOWN: Final = 10
_REASONS_SHOWN: Final = 2


@dataclass(frozen=True)
class DemoPlan:
    """Size of the demonstration. `today` ends the records of the school year in progress."""

    students: int
    seed: int
    epochs: int
    replicates: int
    allow_small: bool
    today: date


def demo(
    *,
    students: Annotated[int, typer.Option(min=200, help="Students enrolled at the start of each year.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the district and of the training.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs; training stops early.")] = 50,
    replicates: Annotated[int, typer.Option(min=10, help="Resamplings of students for the intervals.")] = 300,
    allow_small: Annotated[bool, typer.Option("--allow-small", help="Train on fewer than 1,000 students.")] = False,
) -> None:
    """Generate a district, import it, materialise features, train, evaluate, register, serve, and ask the HTTP API."""
    settings, clock, console = load_settings(), SystemClock(), Console()
    plan = DemoPlan(students, seed, epochs, replicates, allow_small, clock.now().date())
    started = clock.now()
    run_demo(settings, plan, clock=clock, console=console)
    console.print(f"Done in {(clock.now() - started).total_seconds():.0f} s. `make down` stops the servers.")


def run_demo(settings: Settings, plan: DemoPlan, *, clock: Clock, console: Console) -> None:
    """All steps in order; each can be repeated, and what is stored already stays.

    Raises:
        EduPulseError: a step failed; the message says which and why.
    """
    from jobs.import_records import default_rejects_path, import_csv
    from jobs.materialise import materialise_district
    from jobs.reporting import show_report
    from jobs.score import score_district
    from jobs.stack.up import show, up
    from jobs.train import TrainingRequest, train_model

    folder = StackPaths.of(settings.home).home / "demo-district"
    console.rule("1. A synthetic district")
    _generate(plan, folder, console)
    console.rule("2. Import")
    rejects = default_rejects_path(settings, folder.name)
    asyncio.run(import_csv(settings, folder, rejects_path=rejects, console=console))
    console.rule("3. Features")
    asyncio.run(materialise_district(settings, as_of=clock.now(), clock=clock, console=console))
    console.rule("4. Train and evaluate")
    request = TrainingRequest(_training_options(settings, plan), replicates=plan.replicates)
    trained = asyncio.run(train_model(settings, request, clock=clock, console=console))
    console.rule("5. Score and serve")
    scored = asyncio.run(score_district(settings, as_of=None, clock=clock, console=console))
    stack = up(settings, console)
    answers = _ask(stack, [prediction.student_id for prediction in scored.predictions[:_SHOWN]], settings)
    console.rule("The model beside its rivals, on a later year and other people")
    show_report(trained.report, console)
    console.rule("What a counselor sees, asked over HTTP")
    console.print(support_table(answers))
    show(stack, console)


def school_years(today: date) -> tuple[int, int, date | None]:
    """First year and number of the demonstration's full school years, and the day through which the year in progress is
    written (None in summer, when none is).

    Three of the years are settled: a year is, from the 1 October after it.
    """
    settled = today.year - 1 if today.month >= _OCTOBER else today.year - 2
    first_year = settled - _SETTLED_YEARS + 1
    if today.month >= _SEPTEMBER:
        return first_year, today.year - first_year, today
    if today.month >= _JULY:
        return first_year, today.year - first_year, None
    through = min(today, date(today.year, _JUNE, 1))
    return first_year, today.year - 1 - first_year, through


def support_table(predictions: "Sequence[ScoredStudent]") -> Table:
    """The students most in need of support, as a counselor sees them."""
    table = Table(title="Students most in need of support", show_lines=True)
    for name in ("student", "category", "risk", "why", "records"):
        table.add_column(name, overflow="fold")
    for prediction in predictions:
        reasons = [reason.text for reason in (prediction.reasons or ())[:_REASONS_SHOWN]]
        coverage = prediction.coverage
        table.add_row(
            prediction.student_id,
            prediction.category,
            f"{prediction.risk_score:.0%}",
            "\n".join(reasons) or "no reason could be verified",
            f"{coverage.weeks} weeks: attendance {coverage.attendance:.0%}, grades {coverage.course:.0%}, "
            f"discipline {coverage.discipline:.0%}",
        )
    return table


def _generate(plan: DemoPlan, folder: Path, console: Console) -> None:
    """Write the district, or keep the one written before: its records are in the store already."""
    from edupulse_ml.simulation.folder import write_folder, written_plan

    before = written_plan(folder)
    if before is not None:
        if (before.students, before.seed) != (plan.students, plan.seed):
            msg = (
                f"{folder} holds a district of {before.students} students a year made with seed {before.seed}, and its "
                "records are imported: ask for the same, or take another home folder (EDUPULSE_HOME)."
            )
            raise ConflictError(msg)
        console.print(f"The district of an earlier run is kept: {folder}.", soft_wrap=True)
        return
    first_year, years, through = school_years(plan.today)
    district = DistrictPlan(students=plan.students, years=years, seed=plan.seed, first_year=first_year, through=through)
    with progress_bars(console) as bars:
        writing = bars.add_task("writing schools", total=district.schools)
        rows = write_folder(district, folder, progress=lambda done, _: bars.update(writing, completed=done))
    console.print(f"{sum(rows.values()):,} records of {plan.students:,} students a year in {folder}.", soft_wrap=True)


def _training_options(settings: Settings, plan: DemoPlan) -> "TrainingOptions":
    from edupulse_ml.training.options import TrainingOptions

    return TrainingOptions(
        window_weeks=settings.window_weeks, epochs=plan.epochs, seed=plan.seed, allow_small=plan.allow_small
    )


def _ask(stack: "RunningStack", students: list[StudentId], settings: Settings) -> "list[ScoredStudent]":
    from edupulse_ml.client import EduPulse
    from edupulse_ml.security.tokens import read_token

    token = read_token(stack.paths.home, given=settings.token)
    with EduPulse(stack.api_url, token=token) as client:
        answers = client.predict_many(students, include_reasons=True)
    return [answer for answer in answers if answer.status == "scored"]


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["demo", *sys.argv[1:]])
