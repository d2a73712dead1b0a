"""`edupulse feedback-report`: what counselors think of the flags, and whether those they dismissed left."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import InvalidInputError, NotEnoughDataError
from edupulse_ml.core.ids import StudentKey
from edupulse_ml.core.outcomes import risk_task, task_labels
from edupulse_ml.core.tables import AUDIT_ATTRIBUTES
from edupulse_ml.evaluation.flag_opinions import OpinionReport, Opinions, opinion_report
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from edupulse_ml.storage.records import AuditAttributeReader
from edupulse_ml.storage.training_feedback import FeedbackReader, FlagOpinion
from jobs.known_outcomes import known_outcomes
from jobs.wiring import JobContext, open_context

_SUPPRESSED = "too few"
_LEGEND = (
    "Dismissed: not_useful or wrong; agreed: useful or already_known. Fewer than ten students are never told of, nor "
    "what would tell of them. An opinion is not a label: no model learns from it."
)


def feedback_report(
    *,
    days: Annotated[int, typer.Option(min=1, help="Opinions of so many days until now.")] = 365,
    out: Annotated[Path | None, typer.Option(help="Also write the report to this file, as JSON.")] = None,
) -> None:
    """Report what counselors think of the flags: by reason, by group, and whether those they dismissed left."""
    settings, console = load_settings(), Console()
    report = asyncio.run(report_opinions(settings, days=days, clock=SystemClock()))
    if out is not None:
        _write(report, out)
    show_opinions(report, days=days, horizon_days=settings.risk_horizon_days, console=console)


async def report_opinions(settings: Settings, *, days: int, clock: Clock) -> OpinionReport:
    """The report on opinions of the last `days` days.

    Raises:
        NotEnoughDataError: nobody gave an opinion.
        DependencyDownError: PostgreSQL does not answer.
    """
    async with open_context(settings, clock=clock) as context:
        now = context.clock.now()
        found = await FeedbackReader(context.database).opinions(since=now - timedelta(days=days), as_of=now)
        if not found:
            msg = f"Nobody gave an opinion on a flag in the last {days} days: see docs/feedback.md for how to give one."
            raise NotEnoughDataError(msg)
        return opinion_report(await _with_ends(context, found, as_of=now))


async def _with_ends(context: JobContext, found: Sequence[FlagOpinion], *, as_of: datetime) -> Opinions:
    """The opinions with what became of their students, as known at `as_of`, and their audit groups."""
    keys = [StudentKey(key) for key in sorted({opinion.student for opinion in found})]
    student = np.searchsorted(np.asarray(keys), [opinion.student for opinion in found]).astype(np.int32)
    outcomes = await known_outcomes(context, keys, as_of=as_of)
    cutoff = np.asarray([opinion.feature_week for opinion in found], dtype=np.int32) + CUTOFF_DAYS_AFTER_MONDAY
    task = risk_task(context.settings.risk_horizon_days)
    audit = AuditAttributeReader(context.database)
    values = {name: await audit.attribute_of(keys, attribute=name) for name in AUDIT_ATTRIBUTES}
    return Opinions(
        student=student,
        verdict=[opinion.verdict for opinion in found],
        reasons=[opinion.reasons for opinion in found],
        left=task_labels(outcomes.select(student), cutoff_day=cutoff.astype(np.int32), task=task),
        groups={name: [column[at] for at in student] for name, column in values.items()},
    )


def _write(report: OpinionReport, out: Path) -> None:
    try:
        out.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        msg = (
            f"The report cannot be written to {out} ({error.strerror}): name a file in a folder that can be written to."
        )
        raise InvalidInputError(msg) from error


def show_opinions(report: OpinionReport, *, days: int, horizon_days: int, console: Console) -> None:
    """Print the report; what is suppressed reads "too few"."""
    table = Table(title=f"Opinions on flags, last {days} days", title_justify="left")
    for heading in ("of", "group"):
        table.add_column(heading)
    for heading in ("opinions", "dismissed"):
        table.add_column(heading, justify="right")
    table.add_row("all", "", _count(report.n_opinions), "")
    for word, count in report.verdicts.items():
        table.add_row("verdict", word, _count(count), "")
    for group in report.by_group:
        table.add_row(group.attribute, group.group, _count(group.n_opinions), _share(group.dismissed))
    console.print(table)
    for answer in report.later_left:
        console.print(
            f"Of the flags {answer.answer} whose end is known ({_count(answer.n_opinions)}), the student left within "
            f"{horizon_days} days in: {_share(answer.left)}."
        )
    console.print(_LEGEND)


def _count(count: int | None) -> str:
    return _SUPPRESSED if count is None else f"{count:,}"


def _share(share: float | None) -> str:
    return _SUPPRESSED if share is None else f"{share:.0%}"


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["feedback-report", *sys.argv[1:]])
