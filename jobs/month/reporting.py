"""The last step of a month: its report, written to the home folder and kept with the candidate."""

import asyncio
from collections.abc import Mapping
from typing import Final

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.storage.monthly_runs import MonthlyRun, MonthOutcome
from jobs.month.page import month_html
from jobs.month.report import make_report
from jobs.month.results import (
    DataChecked,
    Evaluated,
    Gated,
    Monitored,
    Refreshed,
    Reported,
    Scored,
    Trained,
    UnreadableResultError,
)
from jobs.month.running import Month, read_results
from jobs.month.work import MonthWork
from jobs.stack.state import write_atomically

COMPARED: Final[Mapping[str, type]] = {
    "refresh": Refreshed,
    "check_data": DataChecked,
    "train": Trained,
    "evaluate": Evaluated,
    "gate": Gated,
    "score": Scored,
    "monitor": Monitored,
}
"""Steps whose results a later month is compared with."""


async def write_report(work: MonthWork, month: Month, *, titles: Mapping[str, str], outcome: MonthOutcome) -> Reported:
    """Write report.html and report.json to the run's folder below the home's `reports`, and log them to the candidate's
    run if there is one. Files of an earlier try are replaced.
    """
    store = work.store
    earlier = await store.finished_before(month.run.month)
    report = make_report(
        month,
        district=work.context.settings.district,
        outcome=outcome,
        titles=titles,
        steps=await store.steps(month.run),
        before=None if earlier is None else await _to_compare_with(work, earlier),
        written=work.context.clock.now(),
    )
    pages = {"report.html": month_html(report), "report.json": report.to_json()}
    folder = work.context.paths.reports(work.context.settings.district) / "monthly" / month.run.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        write_atomically(folder / name, text)
    trained = month.find(Trained)
    if trained is not None:
        await asyncio.to_thread(_log, work, ModelVersion(trained.version), pages)
    return Reported(str(folder))


async def _to_compare_with(work: MonthWork, earlier: MonthlyRun) -> Month:
    """The earlier month; without results where another release has run it."""
    try:
        return await read_results(work.store, earlier, COMPARED)
    except UnreadableResultError:
        return Month(earlier)


def _log(work: MonthWork, version: ModelVersion, pages: Mapping[str, str]) -> None:
    for name, text in pages.items():
        work.context.registry.write_text(version, f"monthly/{name}", text)
