"""Results as a table on the terminal and as JSON in a file."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.contenders import CaseResult, ContenderResult
from tests.benchmarks.machine import Machine


def shown(value: float) -> str:
    """A figure with three to four digits that count."""
    if math.isnan(value):
        return "-"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.3g}"


def case_table(result: CaseResult) -> Table:
    """One line per contender: median and range of every figure, and how many times better ours is."""
    table = Table(title=result.title, title_justify="left", title_style="bold")
    table.add_column("contender")
    for name in result.figures:
        table.add_column(name, justify="right")
    table.add_column(f"ours, times better ({result.headline})", justify="right")
    for contender in result.contenders:
        ratio = result.ratio(contender)
        table.add_row(
            contender.name,
            *(_cell(contender, name) for name in result.figures),
            "" if ratio is None or contender is result.contenders[0] else f"{ratio:.2f}",
        )
    return table


def show(results: Sequence[CaseResult], console: Console) -> None:
    """Print one table per case, its notes below it."""
    for result in results:
        console.print(case_table(result))
        for note in result.notes:
            console.print(f"  {note}", soft_wrap=True, style="dim", highlight=False)
        console.print()


def document(
    name: str, results: Sequence[CaseResult], *, machine: Machine, at: datetime, rounds: int, small: bool
) -> dict[str, Any]:
    """Everything measured, as plain values. `small` runs prove that the benchmark works, and nothing else."""
    return {
        "benchmark": name,
        "measured_at": at.isoformat(timespec="seconds"),
        "small": small,
        "rounds": rounds,
        "machine": asdict(machine),
        "cases": [_case(result) for result in results],
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace the JSON file at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def _cell(contender: ContenderResult, figure: str) -> str:
    median, extent = contender.median(figure), contender.extent(figure)
    if median is None or extent is None:
        return "-"
    if len(contender.rounds) == 1 or extent[0] == extent[1]:
        return shown(median)
    return f"{shown(median)} [{shown(extent[0])}, {shown(extent[1])}]"


def _case(result: CaseResult) -> dict[str, Any]:
    return {
        "title": result.title,
        "headline": result.headline,
        "lower_is_better": result.lower_is_better,
        "notes": list(result.notes),
        "contenders": [
            {
                "name": contender.name,
                "rounds": [dict(row) for row in contender.rounds],
                "median": {name: contender.median(name) for name in result.figures},
                "ours_times_better": result.ratio(contender),
            }
            for contender in result.contenders
        ],
    }
