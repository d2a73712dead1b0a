"""`edupulse score`: score every enrolled student, store the predictions, and list those most in need of support."""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.predictions import Prediction
from jobs.bulk.running import Place
from jobs.bulk.score_runs import DistrictScores, ScoreRequest
from jobs.bulk.score_runs import score as run_scoring
from jobs.preflight import CheckOption, check_before, folder_check, model_check, ray_check, serving_checks

_LISTED_ON_TERMINAL: Final = 10


def score(
    *,
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Score as known at the end of this day; default: now.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=0, help="Students to list; default: 10 on a terminal, none elsewhere, where a log keeps them."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Folder of windows (`edupulse materialise --to`) instead of the district's own."),
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--to", help="Folder for the scores, as Parquet, instead of the predictions.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A trained model's folder instead of the champion; with --to only.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Score anew what an earlier run has scored.")] = False,
    place: Annotated[
        Place, typer.Option("--on", help="In this process (`here`), on Ray, or whichever is quicker (`auto`).")
    ] = "auto",
    check: CheckOption = False,
) -> None:
    """Score every enrolled student with the champion and store the predictions.

    A run that was interrupted is continued by the next one; a second run at the same time waits for the first.
    """
    settings, clock, console = load_settings(), SystemClock(), Console()
    if check:
        used = folder_check(model) if model else model_check()
        check_before(settings, console, *serving_checks(), used, *ray_check(needed=place == "ray"))
        return
    listed = top if top is not None else _LISTED_ON_TERMINAL * console.is_terminal
    request = ScoreRequest(
        as_of=as_of.date() if as_of else None,
        source=source,
        target=target,
        model=model,
        again=again,
        place=place,
        top=listed,
    )
    result = asyncio.run(run_scoring(settings, request, clock=clock, console=console))
    if listed:
        console.print(ranking_table(result.predictions))
    console.print(
        f"{result.scored:,} students scored with model {result.model_version}, "
        f"{result.insufficient:,} without enough data to be scored."
    )


async def score_district(settings: Settings, *, as_of: date | None, clock: Clock, console: Console) -> DistrictScores:
    """Score and store. Student-weeks that imports touched are materialised first.

    Raises:
        InvalidInputError: `as_of` lies in the future.
        NotFoundError: the district has no champion model.
    """
    return await run_scoring(settings, ScoreRequest(as_of=as_of), clock=clock, console=console)


def ranking_table(predictions: Sequence[Prediction]) -> Table:
    """Students in the order given, with what a counselor needs to choose."""
    table = Table(title="Students most in need of support")
    for name in ("student", "category", "risk", "early warning", "weeks of records", "last week seen"):
        table.add_column(name)
    for prediction in predictions:
        table.add_row(
            prediction.student_id,
            prediction.category,
            f"{prediction.risk_score:.0%}",
            f"{prediction.risk_60plus:.0%}",
            str(prediction.coverage.weeks),
            prediction.feature_week.isoformat(),
        )
    return table


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["score", *sys.argv[1:]])
