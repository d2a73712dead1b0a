"""`edupulse monthly`: features, checks, a candidate, the gate, scores and a report; once a month, safe to start again."""

import asyncio
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.monitoring.findings import DataBlockedError
from edupulse_ml.storage.monthly_runs import MonthlyRunStore
from edupulse_ml.training.ensemble import DEFAULT_SEEDS
from edupulse_ml.training.strategies import DEFAULT_STRATEGY
from jobs.check_data import IgnoreBlockerOption, IgnoredBlockers, ReasonOption
from jobs.month.report import headline
from jobs.month.request import CandidateOptions, MonthRequest, Rescore, first_day
from jobs.month.results import DataChecked, Reported
from jobs.month.running import Failpoint, MonthEnd, nowhere, run_month
from jobs.month.steps import plan_month
from jobs.month.work import MonthWork
from jobs.policies import PromotionPolicyOption, data_policy, promotion_policy
from jobs.preflight import CheckOption, check_before, gate_check, training_checks
from jobs.wiring import open_context


class MonthBlockedError(DataBlockedError):
    """The month ended before training, because of the records."""

    exit_code = 66
    title = "Month blocked by its data"


def monthly(  # noqa: PLR0913 - one argument per option of the command
    *,
    month: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m"], help="The month, as 2026-11; default: the present one.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Run a month anew that is finished, or was begun with other options.")
    ] = False,
    strategy: Annotated[str, typer.Option(help="What to train, as for `edupulse train`.")] = DEFAULT_STRATEGY,
    seeds: Annotated[
        int, typer.Option(min=1, max=20, help="Seeds of an ensemble: a network and boosted trees of each.")
    ] = DEFAULT_SEEDS,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs; training stops early.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of everything random; keep it, so that test people are shared.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Ray Train workers; 0 trains in this process.")] = 0,
    gpu: Annotated[bool, typer.Option("--gpu", help="Give each Ray Train worker a GPU.")] = False,
    replicates: Annotated[int, typer.Option(min=10, help="Resamplings of students for the intervals.")] = 1000,
    allow_small: Annotated[
        bool, typer.Option("--allow-small", help="Train on fewer than 1,000 students; for experiments only.")
    ] = False,
    policy: PromotionPolicyOption = None,
    rescore: Annotated[
        Rescore,
        typer.Option(help="Score the district each month, or only if the champion has changed since it was scored."),
    ] = "always",
    ignore_blocker: IgnoreBlockerOption = None,
    reason: ReasonOption = None,
    check: CheckOption = False,
) -> None:
    """Refresh features, check the records, train a candidate, judge it beside the champion, score, and report.

    A finished month is left alone. A run that was killed is continued by the same command, with the step that is not
    done. Exit code 0 also if the candidate is refused; 66 if the records are unfit; 5 if another run is under way, or the
    unfinished one had other options.
    """
    settings, console = load_settings(), Console()
    if check:
        check_before(settings, console, *training_checks(ray=workers > 0), gate_check(policy))
        return
    candidate = CandidateOptions(strategy, seeds, epochs, seed, workers, gpu, replicates, allow_small)
    request = MonthRequest(
        candidate,
        month=None if month is None else month.date(),
        again=again,
        rescore=rescore,
        policy=policy,
        ignored=IgnoredBlockers(tuple(ignore_blocker or ()), reason),
    )
    end = asyncio.run(run_district_month(settings, request, clock=SystemClock(), console=console))
    show_end(end, console)
    if end.outcome == "blocked":
        raise blocked(end)


async def run_district_month(
    settings: Settings, request: MonthRequest, *, clock: Clock, console: Console, failpoint: Failpoint = nowhere
) -> MonthEnd:
    """Run the month, or go on with it; see `month.running.run_month`.

    Raises:
        InvalidInputError: the month has not begun, or a policy's file is missing or does not fit.
        NotFoundError: the district does not exist yet.
        MonthUnderWayError: another process runs a month of this district.
        ConflictError: the month's unfinished run was begun with other options.
        EduPulseError: a step failed; the same call goes on with it.
    """
    # The steps read them when they come to it, which may be hours from now.
    promotion_policy(settings, option=request.policy)
    data_policy(settings)
    async with open_context(settings, clock=clock) as context:
        zone = ZoneInfo((await context.reader.district()).timezone)
        month = first_day(request.month, now=clock.now(), zone=zone)
        store = MonthlyRunStore(context.database, clock=clock)
        plan = plan_month(MonthWork(context, request, store, console))
        return await run_month(store, month, plan, console=console, again=request.again, failpoint=failpoint)


def show_end(end: MonthEnd, console: Console) -> None:
    """What came of the month, and where its report is."""
    if end.was_finished:
        console.print(f"The month {end.month.run.name} is finished; --again runs it anew.")
    console.print(headline(end.month), soft_wrap=True)
    reported = end.month.find(Reported)
    if reported is not None:
        console.print(f"Report: {reported.folder}/report.html", soft_wrap=True)


def blocked(end: MonthEnd) -> MonthBlockedError:
    """The error of a month whose records are unfit: every blocker with its advice."""
    found = end.month.of(DataChecked).blockers
    told = "\n".join(f"{finding.name}: {finding.message} {finding.advice}" for finding in found)
    return MonthBlockedError(
        f"The records are not fit to learn from, and the month {end.month.run.name} ended before training:\n{told}\n"
        "Mend them, import again and run the month again; or answer for it: --ignore-blocker NAME --reason WHY."
    )


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["monthly", *sys.argv[1:]])
