"""A verdict on the terminal."""

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edupulse_ml.evaluation.gate import Verdict
from edupulse_ml.evaluation.gate_rules import bracket

_MARKS: Final = {"passed": ("met", "green"), "failed": ("NOT MET", "bold red"), "untold": ("too few to tell", "yellow")}


def show_verdict(verdict: Verdict, console: Console) -> None:
    """Every rule with its figure, its limit and its outcome."""
    against = f"champion {verdict.champion}" if verdict.champion is not None else "no champion yet"
    table = Table(
        title=f"Version {verdict.candidate} against {against}, policy {verdict.policy_version}: "
        f"{verdict.n_rows:,} student-weeks of {verdict.n_students:,} students",
        title_justify="left",
    )
    for column in ("rule", "figure", "limit", ""):
        table.add_column(column, overflow="fold")
    for rule in verdict.results:
        mark, style = _MARKS[rule.outcome]
        figure = rule.figure.reason or "–" if rule.figure.value is None else bracket(rule.figure)
        table.add_row(rule.name, figure, rule.limit, Text(mark, style=style))
    console.print(table)
