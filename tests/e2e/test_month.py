"""The month of a small generated district: killed in the middle, continued, done once, and run again as a challenger."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edupulse_ml.core.ids import DistrictId
from edupulse_ml.registry.models import ModelRegistry, model_name
from jobs.demo import school_years

EDUPULSE = Path(sys.executable).parent / "edupulse"
SMALL = ("--strategy", "boosted", "--epochs", "2", "--replicates", "20", "--allow-small")
ZONE = ZoneInfo("America/New_York")
"""Of the district, whose months these are."""
STEPS = ["refresh", "check_data", "train", "evaluate", "gate", "score", "monitor", "report"]

KILLED_ONCE_REGISTERED = """
import asyncio, os, signal
from rich.console import Console
from edupulse_ml.config.settings import load_settings
from edupulse_ml.core.clock import SystemClock
from jobs.monthly import run_district_month
from jobs.month.request import CandidateOptions, MonthRequest

def failpoint(point):
    if point == "worked train":
        os.kill(os.getpid(), signal.SIGKILL)

request = MonthRequest(CandidateOptions("boosted", 3, 2, 0, 0, False, 20, True))
asyncio.run(run_district_month(
    load_settings(), request, clock=SystemClock(), console=Console(), failpoint=failpoint
))
"""


class DataTeam:
    """A person in an empty folder with the `edupulse` command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".edupulse"
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("EDUPULSE_", "MLFLOW_", "RAY_"))
        } | {"COLUMNS": "200"}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=600, check=False
        )

    def edupulse(self, *arguments: str) -> str:
        done = self.run(str(EDUPULSE), *arguments)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    @property
    def registry(self) -> ModelRegistry:
        name = model_name(DistrictId("demo"))
        return ModelRegistry(f"sqlite:///{self.home}/mlflow.db", name=name, cache_dir=self.folder / "cache")

    def report(self, month: str) -> dict:
        return json.loads((self.home / "reports" / "demo" / "monthly" / month / "report.json").read_text())


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataTeam]:
    team = DataTeam(tmp_path_factory.mktemp("month"))
    first_year, years, through = school_years(datetime.now(UTC).date())
    district = ("--students", "400", "--years", str(years), "--first-year", str(first_year), "--seed", "3")
    until = () if through is None else ("--through", str(through))
    team.edupulse("generate", *district, *until, "--out", "district")
    team.edupulse("import", "csv", "district")
    yield team
    team.edupulse("down")


@pytest.mark.timeout(900)
def test_a_month_that_was_killed_is_continued_and_done_once(team: DataTeam) -> None:
    killed = team.run(sys.executable, "-c", KILLED_ONCE_REGISTERED)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert team.registry.versions() == ["1"]
    assert team.registry.champion() is None

    month = f"{datetime.now(ZONE):%Y-%m}"
    shown = team.edupulse("monthly", "--month", month, *SMALL)
    assert "Version 1 was registered by an earlier try" in shown
    assert "Version 1 is the district's first champion." in shown
    assert team.registry.versions() == ["1"]
    report = team.report(month)
    assert (report["outcome"], report["evaluated"]["model"]) == ("first", "boosted")
    assert len(report["steps"]) == len(STEPS) - 1
    assert report["data"]["findings"] is not None
    page = (team.home / "reports" / "demo" / "monthly" / month / "report.html").read_text()
    assert "students scored with version 1" in page
    assert team.registry.read_text(team.registry.versions()[0], "monthly/report.html") == page

    shown = team.edupulse("monthly", "--month", month, *SMALL)
    assert f"The month {month} is finished" in shown
    assert team.registry.versions() == ["1"]


@pytest.mark.timeout(900)
def test_the_same_month_again_is_a_challenger_that_the_gate_judges(team: DataTeam) -> None:
    month = f"{datetime.now(ZONE):%Y-%m}"
    checked = team.run(sys.executable, "-m", "jobs.monthly", "--check")
    assert (checked.returncode, "WRONG" in checked.stdout) == (0, False), checked.stdout
    shown = team.edupulse("monthly", "--again", *SMALL)
    assert team.registry.versions() == ["2", "1"]
    report = team.report(f"{month}-2")
    assert report["outcome"] in {"promoted", "refused"}
    assert team.registry.champion() == {"promoted": "2", "refused": "1"}[report["outcome"]]
    rules = report["gated"]["verdict"]["results"]
    assert {"passed"} <= {rule["outcome"] for rule in rules}
    assert all(rule["sentence"] for rule in rules)
    assert report["headline"] in shown.replace("\n", " ")
