"""Small runs of the benchmarks, end to end, so that they do not rot. Structure is asserted, never a time."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edupulse_ml.core.errors import ConflictError
from tests.benchmarks.__main__ import NAMES, run_each
from tests.benchmarks.contenders import Case, Contender, run_case
from tests.benchmarks.setting import fresh_home

ROOT = Path(__file__).parents[2]
ROUNDS = 1


@pytest.fixture
def results() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter, which pytest's need not be."""
    folder = Path(tempfile.mkdtemp(prefix="ep-bench-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def small_run(name: str, results: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks", name, "--small", "--without-ray"]
    done = subprocess.run(
        [*command, "--rounds", str(ROUNDS), "--results", str(results)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert not (results / "home").exists(), "the servers' folder is left behind"
    return json.loads((results / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "rivals"),
    [
        ("features", {"pandas", "SQL", "pandas oracle"}),
        ("import", {"COPY, bare tables", "COPY, a bare table"}),
        ("score", {"bare ONNX Runtime, inputs in memory"}),
        ("train", {"bare PyTorch loop"}),
        ("serve", {"plain FastAPI, 2 workers, requests joined", "plain FastAPI, 2 workers, each request alone"}),
    ],
)
def test_a_small_run_measures_every_contender(name: str, rivals: set[str], results: Path) -> None:
    found = small_run(name, results)
    assert found["benchmark"] == name
    assert found["small"] is True
    assert {"cpu", "cores", "memory_gib", "python", "packages", "commit"} <= set(found["machine"])
    assert found["cases"]
    seen = set()
    for case in found["cases"]:
        assert [len(contender["rounds"]) for contender in case["contenders"]] == [ROUNDS] * len(case["contenders"])
        for contender in case["contenders"]:
            assert contender["median"][case["headline"]] > 0
        seen |= {contender["name"] for contender in case["contenders"]}
    assert rivals <= seen


def test_one_that_fails_ends_none_of_the_others() -> None:
    ran: list[str] = []

    def run(name: str) -> int:
        ran.append(name)
        return 3 if name == "import" else 0

    assert run_each(run) == 3
    assert tuple(ran) == NAMES
    assert run_each(lambda _: 0) == 0


def test_contenders_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []

    def contender(name: str, speed: float) -> Contender:
        def run() -> dict[str, float]:
            calls.append(name)
            return {"per second": speed * len(calls)}

        return Contender(name, run)

    result = run_case(Case("work", [contender("a", 4.0), contender("b", 1.0)], headline="per second"), rounds=3)
    assert calls == ["a", "b"] * 4
    ours, theirs = result.contenders
    assert [row["per second"] for row in ours.rounds] == [12.0, 20.0, 28.0]
    assert ours.median("per second") == 20.0
    assert theirs.extent("per second") == (4.0, 8.0)
    assert result.ratio(theirs) == pytest.approx(20.0 / 6.0)


def test_a_lower_duration_is_the_better_one() -> None:
    contenders = [Contender("a", lambda: {"s": 2.0}), Contender("b", lambda: {"s": 6.0})]
    result = run_case(Case("work", contenders, headline="s", lower_is_better=True, warm_up=False), rounds=1)
    assert result.ratio(result.contenders[1]) == 3.0


def test_two_benchmarks_are_never_measured_together(tmp_path: Path) -> None:
    home = tmp_path / "bench" / "home"
    with fresh_home(home):
        (home / "data").touch()
        with pytest.raises(ConflictError, match="Another benchmark runs"), fresh_home(home):
            pass
        assert (home / "data").exists(), "the one that runs keeps its folder"
    with fresh_home(home):
        assert not list(home.iterdir())
    assert not home.exists()
