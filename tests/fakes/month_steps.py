"""A month whose steps leave one line each in a file, run in a process of its own that may be ended at any point."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from io import StringIO
from pathlib import Path
from uuid import UUID

from rich.console import Console

from edupulse_ml.core.ids import DistrictId
from edupulse_ml.evaluation.gate import Verdict
from edupulse_ml.evaluation.gate_rules import RuleResult
from edupulse_ml.evaluation.report import Figure
from edupulse_ml.monitoring.findings import Finding
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.monthly_runs import MonthlyRunStore
from jobs.month.request import MAY_DIFFER
from jobs.month.results import (
    DataChecked,
    Evaluated,
    Gated,
    ModelFigures,
    Monitored,
    Refreshed,
    Reported,
    Scored,
    StepResult,
    Trained,
)
from jobs.month.running import Month, MonthEnd, MonthPlan, Step, run_month
from jobs.month.steps import is_blocked, outcome_of
from tests.fakes.clocks import FixedClock

PARAMETERS = {"strategy": "boosted"}
NAMES = ("refresh", "check_data", "train", "evaluate", "gate", "score", "monitor", "report")
BLOCKER = Finding("freshness.attendance_records", "blocker", "Nothing came for 30 school days.", "Import what is due.")
WARNING = Finding("late.grades", "warning", "Grades come late.", "Ask the schools.")
FIGURE = Figure(0.012, 0.001, 0.02)
VERDICT = Verdict(
    "2",
    "1",
    "1",
    900,
    90,
    (
        RuleResult("not worse", FIGURE, "low >= -0.05", "passed", "It is not worse."),
        RuleResult("parity", Figure(0.5), "<= 1e-05", "failed", "Served by two engines, scores differ by 5.0e-01."),
    ),
)
RESULTS: dict[str, StepResult] = {
    "refresh": Refreshed(120, 4000, date(2025, 5, 26)),
    "check_data": DataChecked("1", (WARNING,)),
    "train": Trained("2", "boosted"),
    "evaluate": Evaluated(
        "boosted",
        ("Of 100 students flagged like this, about 11 left.",),
        (ModelFigures("boosted", "within180", {"auc": "0.760 [0.700, 0.820]"}),),
        {"within180.auc": 0.76},
    ),
    "gate": Gated("refused", "2", "1", "1", VERDICT),
    "score": Scored("1", 118, 2),
    "monitor": Monitored("1", "1", 14, (), None),
    "report": Reported("/reports/2025-05"),
}


class Ledger:
    """What the steps have done to the world, one line each; whoever finds a line of this run does nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[str]:
        return self.path.read_text().split("\n")[:-1] if self.path.exists() else []

    def add(self, step: str, run: UUID) -> None:
        line = f"{step} {run}"
        if line not in self.lines():
            with self.path.open("a") as file:
                file.write(line + "\n")


def plan(
    ledger: Ledger,
    *,
    blocked: bool = False,
    failing: str | None = None,
    error: Exception | None = None,
    parameters: Mapping[str, object] = PARAMETERS,
) -> MonthPlan:
    """Steps with the names and results of the real ones; `failing` raises `error`."""

    def step(name: str) -> Callable[[Month], Awaitable[StepResult]]:
        async def do(month: Month) -> StepResult:
            if name == failing and error is not None:
                raise error
            ledger.add(name, month.run.run_id)
            return DataChecked("1", (BLOCKER,)) if blocked and name == "check_data" else RESULTS[name]

        return do

    return MonthPlan(
        steps=[
            Step(name, f"title of {name}", type(RESULTS[name]), step(name), name in {"refresh", "check_data", "report"})
            for name in NAMES
        ],
        is_blocked=is_blocked,
        outcome=outcome_of,
        parameters=parameters,
        may_differ=MAY_DIFFER,
    )


def quiet() -> Console:
    return Console(file=StringIO())


async def run_on(database: Database, month: date, ledger: Ledger, **options) -> MonthEnd:
    asked = ("blocked", "failing", "error", "parameters")
    planned = {name: options.pop(name) for name in asked if name in options}
    store = MonthlyRunStore(database, clock=FixedClock())
    return await run_month(store, month, plan(ledger, **planned), console=quiet(), **options)


def run_and_die(url: str, district: str, month: date, ledger: Path, point: str) -> None:
    """Run the month in this process, and be killed at `point` as by `kill -9`; without that point, exit with code 0."""

    def failpoint(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    async def main() -> None:
        async with Database(url, district_id=DistrictId(district)) as database:
            await run_on(database, month, Ledger(ledger), failpoint=failpoint)

    asyncio.run(main())
