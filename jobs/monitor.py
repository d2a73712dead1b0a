"""`edupulse monitor`: whether the served model still meets the students it learned from, and was right about them."""

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, cast
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import InvalidInputError, NotEnoughDataError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.weeks import day_from_number, last_closed_week, local_day
from edupulse_ml.models.strategies import ServableModel, load_strategy
from edupulse_ml.monitoring.cohort_drift import feature_drift, score_drift
from edupulse_ml.monitoring.figures import FigureKind, WatchedFigure, WatchReport
from edupulse_ml.monitoring.outcome_watch import JudgedOutcomes, judge_served, monthly, outcome_figures
from edupulse_ml.monitoring.watch_policy import WatchPolicy
from edupulse_ml.storage.monitoring import KeptFigure, KeptRun, MonitoringRepository
from jobs.policies import PromotionPolicyOption, watch_policy
from jobs.preflight import CheckOption, check_before, gate_check, model_check, serving_checks
from jobs.progress import progress_bars
from jobs.watching.cohorts import ReadCohorts, Scorer, TrainingWeeks, read_cohorts
from jobs.watching.served import read_scores, read_served, score_tasks
from jobs.watching.showing import show_watch, write_pages
from jobs.wiring import JobContext, open_context


@dataclass(frozen=True)
class WatchRequest:
    """What to monitor. `version` None: the champion; `as_of` None: now; `policy` None: see `jobs.policies`; `again`: also
    if it was done today.
    """

    version: ModelVersion | None = None
    as_of: datetime | None = None
    policy: Path | None = None
    again: bool = False


@dataclass(frozen=True)
class Watched:
    """What was seen; `page` None: it was seen earlier today, and nothing was done."""

    report: WatchReport
    page: Path | None


def monitor(
    *,
    model: Annotated[str | None, typer.Option(help="Registered version; default: the champion.")] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Moment (UTC) to look from; default: now."),
    ] = None,
    policy: PromotionPolicyOption = None,
    again: Annotated[bool, typer.Option("--again", help="Also if this model was monitored today.")] = False,
    check: CheckOption = False,
) -> None:
    """Compare features and scores with the training cohort, and matured predictions with what happened.

    Figures go to the table monitoring_figures, to /metrics, and to a page in the home folder. Alerts do not change the
    exit code. A second run on a day shows the first one's figures; a second run at the same time waits for the first.
    """
    if check:
        check_before(load_settings(), Console(), *serving_checks(), gate_check(policy), model_check(model))
        return
    request = WatchRequest(
        ModelVersion(model) if model else None, None if as_of is None else as_of.replace(tzinfo=UTC), policy, again
    )
    console = Console()
    watched = asyncio.run(monitor_district(load_settings(), request, clock=SystemClock(), console=console))
    show_watch(watched.report, console)
    if watched.page is None:
        console.print("Monitored earlier today; --again looks anew.")
    else:
        console.print(f"Written to {watched.page}", soft_wrap=True)


async def monitor_district(settings: Settings, request: WatchRequest, *, clock: Clock, console: Console) -> Watched:
    """Monitor one model and keep what was seen.

    Raises:
        NotFoundError: the district has no champion, or no such version.
        NotEnoughDataError: nothing is materialised.
        InvalidInputError: `as_of` lies in the future, or the policy does not fit.
    """
    async with open_context(settings, clock=clock) as context:
        return await monitor_model(context, request, console=console)


async def monitor_model(context: JobContext, request: WatchRequest, *, console: Console) -> Watched:
    """As `monitor_district`, in an open context."""
    as_of = request.as_of or context.clock.now()
    if as_of > context.clock.now():
        raise InvalidInputError(f"{as_of.isoformat()} lies in the future; only what has happened can be monitored.")
    policy_version, policy = watch_policy(context.settings, option=request.policy)
    zone = ZoneInfo((await context.reader.district()).timezone)
    day = day_from_number(local_day(as_of, zone))
    fetched = await asyncio.to_thread(context.registry.fetch, request.version)
    runs = MonitoringRepository(context.database)
    async with runs.exclusive():
        kept = None if request.again else await runs.run_of(version=fetched.version, day=day)
        if kept is not None:
            return Watched(report_of(kept, context), None)
        model = await asyncio.to_thread(load_strategy, fetched.path, threads=0)
        model.contract.require_match(context.contract)
        looking = _Looking(context, model, fetched.version, as_of, day, policy_version, policy)
        report, outcomes = await looking.report(last_closed_week(as_of, zone), console)
        await runs.keep(_kept(report))
        folder = context.paths.reports(context.settings.district) / "monitoring"
        page = write_pages(report, None if outcomes is None else outcomes.report, folder)
    return Watched(report, page)


@dataclass(frozen=True)
class _Looking:
    """One look at one model."""

    context: JobContext
    model: ServableModel
    version: ModelVersion
    as_of: datetime
    day: date
    policy_version: str
    policy: WatchPolicy

    async def report(self, through_week: int, console: Console) -> tuple[WatchReport, JudgedOutcomes | None]:
        """All figures, and the evaluation of what was served, if any of it has come of age."""
        runs = MonitoringRepository(self.context.database)
        contract = self.context.contract
        weeks = await runs.latest_weeks(contract=contract, through_week=through_week, weeks=self.policy.drift.weeks)
        if not weeks:
            msg = (
                "There are no features of the last year to compare: run `edupulse import`, then `edupulse materialise`."
            )
            raise NotEnoughDataError(msg)
        description = await asyncio.to_thread(self.context.registry.describe, self.version)
        tasks = score_tasks(self.model.task)
        with progress_bars(console) as bars:
            reading = bars.add_task("reading student-weeks", total=1.0)
            training = TrainingWeeks.of(description.tags, version=self.version)
            cohorts = await read_cohorts(
                self.context,
                training,
                Scorer(self.model.predict, [task.name for task in tasks], contract.window_weeks),
                weeks=weeks,
                policy=self.policy.drift,
                on_share=lambda share: bars.update(reading, completed=share),
            )
            judging = bars.add_task("judging what was served", total=None)
            at_promotion = {
                task.name: description.metrics[name]
                for task in tasks
                if (name := f"test.{self.model.strategy}.{task.name}.auc") in description.metrics
            }
            drift, outcomes = await self._figures(
                cohorts, training, through_week=through_week, at_promotion=at_promotion
            )
            bars.update(judging, total=1, completed=1)
        report = WatchReport(
            self.context.district_id,
            self.day,
            self.as_of,
            self.version,
            self.policy_version,
            day_from_number(weeks[0]),
            day_from_number(weeks[-1]),
            drift,
        )
        return report, outcomes

    async def _figures(
        self, cohorts: ReadCohorts, training: TrainingWeeks, *, through_week: int, at_promotion: dict[str, float]
    ) -> tuple[tuple[WatchedFigure, ...], JudgedOutcomes | None]:
        context, tasks, limits = self.context, score_tasks(self.model.task), self.policy
        served, students = await read_served(
            context,
            task=self.model.task,
            through_week=through_week,
            days=limits.outcomes.days,
            version=self.version,
            as_of=self.as_of,
        )
        said = await read_scores(context, version=self.version, week_numbers=cohorts.week_numbers, as_of=self.as_of)
        names = [task.name for task in tasks]
        features = await asyncio.to_thread(
            feature_drift,
            cohorts.reference,
            cohorts.current,
            reference_days=training.last - training.first,
            policy=limits.drift,
        )
        scores = score_drift(cohorts.reference_scores, said, tasks=names, policy=limits.drift)
        outcomes = await asyncio.to_thread(
            judge_served,
            monthly(served),
            students,
            tasks=tasks,
            title=f"District {context.district_id}: what was served, by what happened",
            created_at=self.as_of.isoformat(timespec="seconds"),
            policy=limits.outcomes,
        )
        judged = outcome_figures(outcomes, tasks=tasks, at_promotion=at_promotion, policy=limits.outcomes)
        return (*features, *scores, *judged), outcomes


def report_of(run: KeptRun, context: JobContext) -> WatchReport:
    """A kept run as it was reported."""
    return WatchReport(
        context.district_id,
        run.day,
        run.as_of,
        run.model_version,
        run.policy_version,
        run.first_week,
        run.last_week,
        tuple(WatchedFigure(**{**asdict(figure), "kind": cast("FigureKind", figure.kind)}) for figure in run.figures),
    )


def _kept(report: WatchReport) -> KeptRun:
    return KeptRun(
        report.model_version,
        report.day,
        report.as_of,
        report.policy_version,
        report.first_week,
        report.last_week,
        tuple(KeptFigure(**asdict(figure)) for figure in report.figures),
    )


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["monitor", *sys.argv[1:]])
