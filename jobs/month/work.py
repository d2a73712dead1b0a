"""What the steps of a month work with."""

from dataclasses import dataclass

from rich.console import Console

from edupulse_ml.storage.monthly_runs import MonthlyRunStore
from jobs.month.request import MonthRequest
from jobs.wiring import JobContext


@dataclass(frozen=True)
class MonthWork:
    """Open stores, what was asked for, and where to say what happens."""

    context: JobContext
    request: MonthRequest
    store: MonthlyRunStore
    console: Console
