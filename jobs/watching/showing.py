"""What was seen, on the terminal and as pages in the home folder."""

import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edupulse_ml.evaluation.html import report_html
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.monitoring.figures import TITLES, WatchReport
from edupulse_ml.monitoring.page import bracket, chance, page_html


def show_watch(report: WatchReport, console: Console) -> None:
    """Every alert with what to do, and how many figures are none."""
    weeks = "" if report.first_week is None else f", weeks of {report.first_week} to {report.last_week}"
    title = (
        f"District {report.district_id}, model version {report.model_version}, {report.day}{weeks}: "
        f"{len(report.alerts)} alerts among {len(report.figures)} figures"
    )
    if not report.alerts:
        console.print(title + ".", soft_wrap=True)
        return
    table = Table(title=title, title_justify="left")
    for column in ("alert", "value", "limit", "chance", "what to do"):
        table.add_column(column, overflow="fold")
    for figure in report.alerts:
        table.add_row(
            Text(f"{TITLES[figure.kind]}: {figure.subject}"),
            bracket(figure),
            "–" if figure.limit is None else f"{figure.limit:g}",
            chance(figure.chance),
            Text(figure.advice if figure.note is None else f"{figure.note}. {figure.advice}"),
        )
    console.print(table)


def write_pages(report: WatchReport, outcomes: EvaluationReport | None, folder: Path) -> Path:
    """Write the page of the day, and beside it the evaluation of what was served (HTML and JSON) where there is one; pages
    of the same day and model are replaced. Returns the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{report.day}-version-{report.model_version}"
    if outcomes is not None:
        _replace(folder / f"{stem}-outcomes.html", report_html(outcomes))
        _replace(folder / f"{stem}-outcomes.json", outcomes.to_json())
    page = folder / f"{stem}.html"
    _replace(page, page_html(report))
    return page


def _replace(path: Path, text: str) -> None:
    """Write whole: who reads meanwhile sees the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
