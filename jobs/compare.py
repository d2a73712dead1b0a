"""`edupulse compare`: what a challenge has shown so far, with a test that may be looked at every day."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.evaluation.challenge_report import ChallengeReport
from jobs.challenge.comparing import compare_challenge
from jobs.challenge.page import comparison_html
from jobs.challenge.showing import show_comparison
from jobs.wiring import open_context


def compare(
    *,
    challenge: Annotated[str | None, typer.Option(help="Id of a challenge; default: the last one.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the report as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="File for the report as an HTML page.")] = None,
) -> None:
    """Compare champion and challenger on stored predictions: calibration, ranking, lists, and the arms' outcomes."""
    console = Console()
    report = asyncio.run(compare_models(load_settings(), challenge_id=challenge, clock=SystemClock()))
    show_comparison(report, console)
    for path, text in ((out, report.to_json), (html, lambda: comparison_html(report))):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(), encoding="utf-8")
            console.print(f"Written to {path}", soft_wrap=True)


async def compare_models(settings: Settings, *, challenge_id: str | None, clock: Clock) -> ChallengeReport:
    """The report; see `challenge.comparing.compare_challenge`, whose errors it raises."""
    async with open_context(settings, clock=clock) as context:
        return await compare_challenge(context, challenge_id=challenge_id)


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["compare", *sys.argv[1:]])
