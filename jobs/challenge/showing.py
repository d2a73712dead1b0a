"""A challenge's report on the terminal."""

from rich.console import Console
from rich.table import Table

from edupulse_ml.evaluation.challenge_report import ChallengeReport
from jobs.challenge.words import heading, parts


def show_comparison(report: ChallengeReport, console: Console) -> None:
    """Both parts of the report, and in one sentence each what may be concluded today."""
    console.print(heading(report))
    for part in parts(report):
        if part.rows:
            table = Table(title=part.title, title_justify="left")
            for column in ("", "champion", "challenger"):
                table.add_column(column, overflow="fold")
            for row in part.rows:
                table.add_row(*row)
            console.print(table)
        console.print(part.sentence)
