"""The main job as a newcomer runs it, small: an empty folder, one command, scores over HTTP, and a restart."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from edupulse_ml.client import EduPulse, ScoredStudent

EDUPULSE = Path(sys.executable).parent / "edupulse"
NOTEBOOK = Path(__file__).parents[2] / "docs" / "client.ipynb"
STUDENTS = 400


class Newcomer:
    """A person in an empty folder with the `edupulse` command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("EDUPULSE_", "MLFLOW_", "RAY_"))
        } | {"EDUPULSE_HTTP_PORT": "0", "EDUPULSE_DASHBOARD_PORT": "0", "EDUPULSE_MLFLOW_PORT": "0", "COLUMNS": "160"}

    def run(self, *arguments: str, program: Path = EDUPULSE, **settings: str) -> str:
        done = subprocess.run(
            [str(program), *arguments],
            cwd=self.folder,
            env=self._environment | settings,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, (
            f"{arguments}: exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        return done.stdout

    def execute_notebook(self, notebook: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(EDUPULSE.parent / "jupyter-execute"), str(notebook), "--output", str(self.folder / "executed")],
            env=self._environment | {"EDUPULSE_HOME": str(self.folder / ".edupulse")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    @property
    def token(self) -> str:
        return (self.folder / ".edupulse" / "token").read_text().strip()


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    person = Newcomer(tmp_path_factory.mktemp("newcomer"))
    yield person
    person.run("down")


@pytest.fixture(scope="module")
def demo(newcomer: Newcomer) -> str:
    return newcomer.run(
        "demo", "--students", str(STUDENTS), "--epochs", "2", "--replicates", "20", "--allow-small", "--seed", "3"
    )


def _api_url(text: str) -> str:
    found = re.search(r"(http://127\.0\.0\.1:\d+)/docs", text)
    assert found, text[-2000:]
    return found.group(1)


@pytest.mark.timeout(900)
def test_the_demo_ends_with_students_reasons_rivals_and_urls(demo: str, newcomer: Newcomer) -> None:
    assert "Students most in need of support" in demo
    for rival in ("Base rate", "Chronic-absence rule", "ABC rule", "Logistic regression", "LightGBM"):
        assert rival in demo
    assert "rows were rejected" not in demo
    assert oct((newcomer.folder / ".edupulse" / "token").stat().st_mode)[-3:] == "600"
    assert httpx.get(f"{_api_url(demo)}/ready", timeout=10).status_code == 200
    with EduPulse(_api_url(demo), token=newcomer.token) as client:
        answer = client.predict(_a_listed_student(demo), include_reasons=True)
    assert isinstance(answer, ScoredStudent)
    assert "haproxy" in _programs_of(newcomer)
    # A network trained for two epochs may have no reason that can be verified; those it has are sentences.
    assert answer.reasons is not None
    assert all("typical for grade" in reason.text for reason in answer.reasons)


@pytest.mark.timeout(300)
def test_the_notebook_runs_against_the_demo(demo: str, newcomer: Newcomer) -> None:
    done = newcomer.execute_notebook(NOTEBOOK)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.timeout(600)
def test_importing_the_same_folder_again_changes_nothing(demo: str, newcomer: Newcomer) -> None:
    printed = newcomer.run("import", "csv", str(newcomer.folder / ".edupulse" / "demo-district"))
    rows = re.findall(r"│ \w+\.csv\s+│\s+([\d,]+) │\s+([\d,]+) │\s+([\d,]+) │\s+([\d,]+) │\s+([\d,]+) │", printed)
    assert len(rows) == 8
    for read, inserted, updated, unchanged, rejected in rows:
        assert (inserted, updated, rejected) == ("0", "0", "0")
        assert unchanged == read


@pytest.mark.timeout(600)
def test_a_restart_finds_its_data_also_after_a_kill(demo: str, newcomer: Newcomer) -> None:
    with EduPulse(_api_url(demo), token=newcomer.token) as client:
        student = _a_listed_student(demo)
        before = client.predict(student)
        assert isinstance(before, ScoredStudent)
    _kill_everything_of(newcomer)
    up_again = newcomer.run("up")
    with EduPulse(_api_url(up_again), token=newcomer.token) as client:
        kept = client.history(student)
        assert before.prediction_id in {prediction.prediction_id for prediction in kept}
        after = client.predict(student)
    assert isinstance(after, ScoredStudent)
    assert after.risk_score == pytest.approx(before.risk_score, abs=1e-9)


@pytest.mark.timeout(300)
def test_a_job_runs_on_the_cluster_in_fast_mode(demo: str, newcomer: Newcomer) -> None:
    home = newcomer.folder / ".edupulse"
    (head,) = (
        server for server in json.loads((home / "stack.json").read_text())["processes"] if server["name"] == "ray"
    )
    printed = newcomer.run(
        *("job", "submit", "--", sys.executable, "-m", "jobs.score"),
        program=EDUPULSE.parent / "ray",
        RAY_ADDRESS=head["url"],
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN_PATH=str(home / "ray-token"),
    )
    assert "students scored with model 1" in printed


@pytest.mark.timeout(600)
def test_the_default_mode_serves_the_same_without_haproxy(demo: str, newcomer: Newcomer) -> None:
    student = _a_listed_student(demo)
    address = (newcomer.folder / ".edupulse" / "api-url").read_text().strip()
    with EduPulse(address, token=newcomer.token) as client:
        fast = client.predict(student)
    assert _metrics(address, newcomer).status_code == 200
    address = _api_url(newcomer.run("up", EDUPULSE_SERVE_MODE="default"))
    with EduPulse(address, token=newcomer.token) as client:
        default = client.predict(student)
    assert isinstance(fast, ScoredStudent)
    assert isinstance(default, ScoredStudent)
    assert default.risk_score == pytest.approx(fast.risk_score, abs=1e-9)
    assert _metrics(address, newcomer).status_code == 200
    assert "haproxy" not in _programs_of(newcomer)


@pytest.mark.timeout(300)
def test_down_leaves_no_process_behind(demo: str, newcomer: Newcomer) -> None:
    newcomer.run("down")
    assert _processes_of(newcomer) == []
    assert "Nothing was running" in newcomer.run("down")


def _a_listed_student(demo: str) -> str:
    listed = demo[demo.index("Students most in need of support") :]
    found = re.search(r"│ (\S+)\s+│ (?:low|moderate|high|critical)", listed)
    assert found, listed[:2000]
    return found.group(1)


def _processes_of(newcomer: Newcomer) -> list[psutil.Process]:
    home = str(newcomer.folder / ".edupulse")
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            texts = [*process.cmdline(), *(f"{k}={v}" for k, v in process.environ().items())]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(home in text for text in texts):
            found.append(process)
    return found


def _programs_of(newcomer: Newcomer) -> set[str]:
    return {process.name() for process in _processes_of(newcomer)}


def _metrics(address: str, newcomer: Newcomer) -> httpx.Response:
    return httpx.get(f"{address}/metrics", headers={"Authorization": f"Bearer {newcomer.token}"}, timeout=30)


def _kill_everything_of(newcomer: Newcomer) -> None:
    for process in _processes_of(newcomer):
        process.kill()
    psutil.wait_procs(_processes_of(newcomer), timeout=30)
