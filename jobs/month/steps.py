"""The steps of a month in their order."""

import asyncio
from functools import partial

from edupulse_ml.core.weeks import day_from_number
from edupulse_ml.storage.monthly_runs import MonthOutcome
from edupulse_ml.storage.scoring_runs import ScoringRunStore
from jobs.check_data import check_data, show_findings
from jobs.materialise import materialise_pending
from jobs.monitor import WatchRequest, monitor_district
from jobs.month.candidate import read_evaluation, train_candidate
from jobs.month.gate import pass_gate
from jobs.month.reporting import write_report
from jobs.month.request import MAY_DIFFER
from jobs.month.results import DataChecked, Evaluated, Gated, Monitored, Refreshed, Reported, Scored, Trained
from jobs.month.running import Month, MonthPlan, Step
from jobs.month.work import MonthWork
from jobs.policies import data_policy
from jobs.score import score_district


def plan_month(work: MonthWork) -> MonthPlan:
    """All steps of a month, each done by the district's own stores and models."""
    steps = (
        Step("refresh", "features of what was imported", Refreshed, partial(_refresh, work), when_blocked=True),
        Step("check_data", "the records", DataChecked, partial(_check_data, work), when_blocked=True),
        Step("train", "a candidate", Trained, partial(train_candidate, work)),
        Step("evaluate", "the candidate on its test year", Evaluated, partial(read_evaluation, work)),
        Step("gate", "the candidate beside the champion", Gated, partial(pass_gate, work)),
        Step("score", "scores of the district", Scored, partial(_score, work)),
        Step("monitor", "drift and outcomes", Monitored, partial(_monitor, work)),
    )
    titles = {step.name: step.title for step in steps}

    async def report(month: Month) -> Reported:
        return await write_report(work, month, titles=titles, outcome=outcome_of(month))

    return MonthPlan(
        steps=(*steps, Step("report", "the report", Reported, report, when_blocked=True)),
        is_blocked=is_blocked,
        outcome=outcome_of,
        parameters=work.request.parameters(),
        may_differ=MAY_DIFFER,
    )


def is_blocked(month: Month) -> bool:
    """Whether the records were found unfit to learn from."""
    checked = month.find(DataChecked)
    return checked is not None and bool(checked.blockers)


def outcome_of(month: Month) -> MonthOutcome:
    """What came of a month whose steps are done."""
    return "blocked" if is_blocked(month) else month.of(Gated).kind


async def _refresh(work: MonthWork, _: Month) -> Refreshed:
    context = work.context
    summary = await materialise_pending(context, as_of=context.clock.now(), console=work.console)
    return Refreshed(summary.students, summary.student_weeks_written, day_from_number(summary.through_week))


async def _check_data(work: MonthWork, _: Month) -> DataChecked:
    context, ignored = work.context, work.request.ignored
    with work.console.status("counting records"):
        report = await check_data(context, as_of=context.clock.now(), policy=data_policy(context.settings))
    show_findings(report, work.console)
    found = {finding.name for finding in report.blockers}
    names = tuple(sorted(found & set(ignored.names)))
    return DataChecked(report.policy_version, report.findings, names, ignored.reason if names else None)


async def _score(work: MonthWork, month: Month) -> Scored:
    context = work.context
    if work.request.rescore == "changed" and not await _champion_changed(work, month):
        return Scored(None)
    scores = await score_district(context.settings, as_of=None, clock=context.clock, console=work.console)
    return Scored(scores.model_version, scores.scored, scores.insufficient)


async def _champion_changed(work: MonthWork, month: Month) -> bool:
    """Whether there is a champion, and another one than the district was scored with when this run of the month began. A
    later scoring may be the run's own, which was not noted before its process was killed.
    """
    champion = await asyncio.to_thread(work.context.registry.champion)
    scored = await ScoringRunStore(work.context.database).version_scored(before=month.run.started_at)
    return champion is not None and champion != scored


async def _monitor(work: MonthWork, _: Month) -> Monitored:
    context = work.context
    watched = await monitor_district(
        context.settings, WatchRequest(policy=work.request.policy), clock=context.clock, console=work.console
    )
    report = watched.report
    return Monitored(
        version=report.model_version,
        policy_version=report.policy_version,
        figures=len(report.figures),
        alerts=report.alerts,
        page=None if watched.page is None else str(watched.page),
    )
