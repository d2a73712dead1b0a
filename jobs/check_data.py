"""`edupulse check-data`: whether the district's records can be learned from."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edupulse_ml.config.settings import load_settings
from edupulse_ml.core.clock import SystemClock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.weeks import last_closed_week
from edupulse_ml.monitoring.data_policy import DataPolicy
from edupulse_ml.monitoring.data_quality import DataCounts, judge_data
from edupulse_ml.monitoring.findings import DataQualityReport
from edupulse_ml.storage.data_checks import VERSIONED, DataCheckReader, LateAfter
from jobs.policies import DataPolicyOption, data_policy
from jobs.wiring import JobContext, open_context


@dataclass(frozen=True)
class IgnoredBlockers:
    """Blockers that somebody answers for: their names and why. Kept with the run and with the model."""

    names: tuple[str, ...] = ()
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.names and not self.reason:
            raise InvalidInputError("Ignoring a blocker needs a reason: --ignore-blocker NAME --reason WHY.")

    def as_tags(self) -> dict[str, str]:
        """What a run and its model are tagged with; empty if nothing was ignored."""
        return {"ignored_data_blockers": f"{', '.join(self.names)}: {self.reason}"} if self.names else {}


NOTHING_IGNORED: Final = IgnoredBlockers()

IgnoreBlockerOption = Annotated[
    list[str] | None, typer.Option(help="Go on although `edupulse check-data` finds this; may be repeated.")
]
ReasonOption = Annotated[str | None, typer.Option(help="Why a blocker is ignored; kept with the model.")]


def check(
    *,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Moment (UTC) of the check; default: now."),
    ] = None,
    policy: DataPolicyOption = None,
    out: Annotated[Path | None, typer.Option(help="Also write the report to this file, as JSON.")] = None,
) -> None:
    """Check volumes, freshness, missing and impossible records, leaver codes and features of the whole district.

    Nothing is changed. Ends with exit code 5 where a blocker was found, which also stops `edupulse train`, `tune` and
    `monthly`.
    """
    settings, clock, console = load_settings(), SystemClock(), Console()
    moment = clock.now() if as_of is None else as_of.replace(tzinfo=UTC)
    limits = data_policy(settings, option=policy)

    async def work() -> DataQualityReport:
        async with open_context(settings, clock=clock) as context:
            with console.status("counting records"):
                return await check_data(context, as_of=moment, policy=limits)

    report = asyncio.run(work())
    show_findings(report, console)
    if out is not None:
        out.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    report.require_fit()


async def check_data(context: JobContext, *, as_of: datetime, policy: DataPolicy) -> DataQualityReport:
    """What is wrong with the district's records as they were known at `as_of`; features are looked at as stored now.

    Raises:
        NotFoundError: the district does not exist yet.
    """
    district = await context.reader.district()
    zone = ZoneInfo(district.timezone)
    through_week = last_closed_week(as_of, zone)
    reader = DataCheckReader(context.database, zone=zone, as_of=as_of)
    late_after = LateAfter(
        recorded={str(table): days for table, days in policy.late.days.items()},
        unmarked_days=policy.late.unmarked_days,
        most_suspension_days=policy.impossible.most_suspension_days,
    )
    pending, students = await reader.not_materialised(contract=context.contract, through_week=through_week)
    counts = DataCounts(
        school_days=await reader.school_days(),
        school_weeks=await reader.school_weeks(),
        records={table.name: await reader.record_weeks(table, late_after=late_after) for table in VERSIONED},
        overlapping={table.name: await reader.overlapping_versions(table) for table in VERSIONED},
        exits=await reader.exits(),
        features=await reader.missing_features(contract=context.contract, through_week=through_week),
        not_materialised=pending,
        students=students,
    )
    return judge_data(counts, district_id=context.district_id, as_of=as_of, zone=zone, policy=policy)


async def require_fit_data(
    context: JobContext, *, as_of: datetime, policy: DataPolicy, ignored: IgnoredBlockers, console: Console
) -> Sequence[str]:
    """Show what is wrong with the records, and return the names of the blockers that were ignored.

    Raises:
        DataBlockedError: a blocker was found that `ignored` does not name.
    """
    report = await check_data(context, as_of=as_of, policy=policy)
    if report.blockers:
        show_findings(report, console)
    elif report.warnings:
        console.print(f"Records: {len(report.warnings)} warnings, no blocker; `edupulse check-data` lists them.")
    report.require_fit(ignoring=ignored.names)
    return sorted({finding.name for finding in report.blockers})


def show_findings(report: DataQualityReport, console: Console) -> None:
    """Every finding with its advice, blockers first."""
    if not report.findings:
        console.print(f"Records of district {report.district_id}: nothing found, policy {report.policy_version}.")
        return
    table = Table(
        title=f"Records of district {report.district_id} as known at {report.as_of:%Y-%m-%d %H:%M} UTC, policy "
        f"{report.policy_version}: {len(report.blockers)} blockers, {len(report.warnings)} warnings",
        title_justify="left",
    )
    for column in ("", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in report.findings:
        style = "bold red" if finding.severity == "blocker" else "yellow"
        name = Text(f"{finding.severity.upper()}\n{finding.name}", style=style)
        table.add_row(name, Text(finding.message), Text(finding.advice))
    console.print(table)


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["check-data", *sys.argv[1:]])
