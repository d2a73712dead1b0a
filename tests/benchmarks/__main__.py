"""`python -m tests.benchmarks NAME`: run one benchmark (or `all`) against its rivals, show a table, write JSON.

Small runs (`--small`) take seconds and prove that the benchmark works; only full runs on a quiet machine measure.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Final

from rich.console import Console

from edupulse_ml.core.clock import Clock, SystemClock

NAMES: Final = ("features", "import", "score", "train", "start", "serve")
_ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = _ROOT / ".edupulse" / "bench"
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 when every benchmark ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", choices=(*NAMES, "all"))
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds per contender")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes; the figures mean nothing")
    parser.add_argument("--without-ray", action="store_true", help="leave out contenders that need a Ray cluster")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files and of the servers")
    asked = parser.parse_args(arguments)
    if asked.name == "all":
        given = list(sys.argv[1:] if arguments is None else arguments)
        return run_each(lambda name: _in_own_process([name if word == "all" else word for word in given]))
    for variable in _THREADS:
        # One thread per process, so that CPU time is comparable; must stand before NumPy is first imported.
        os.environ.setdefault(variable, "1")
    run_benchmark(
        asked.name,
        rounds=asked.rounds,
        small=asked.small,
        with_ray=not asked.without_ray,
        results=asked.results.resolve(),
        console=Console(width=None if sys.stdout.isatty() else 180),
        clock=SystemClock(),
    )
    return 0


def run_each(run: Callable[[str], int]) -> int:
    """Run every benchmark by `run`, which gives its exit code, also after one that failed; the last code that is not 0."""
    codes = [run(name) for name in NAMES]
    return next((code for code in reversed(codes) if code), 0)


def _in_own_process(arguments: Sequence[str]) -> int:
    """Nothing that one benchmark leaves in memory is measured, or found stale, by the next."""
    return subprocess.run([sys.executable, "-m", "tests.benchmarks", *arguments], check=False).returncode


def run_benchmark(
    name: str,
    *,
    rounds: int,
    small: bool,
    with_ray: bool,
    results: Path,
    console: Console,
    clock: Clock,
) -> Path:
    """Run one benchmark in a home folder of its own; the JSON file it wrote."""
    from tests.benchmarks.contenders import Case, CaseResult, run_case
    from tests.benchmarks.machine import describe_machine
    from tests.benchmarks.reporting import document, show, write
    from tests.benchmarks.setting import BenchSetting, fresh_home

    cases: Callable[[BenchSetting], Generator[Case]] = import_module(f"tests.benchmarks.bench_{name}").cases
    at, machine = clock.now(), describe_machine()
    console.rule(f"{name}: {machine.line}")
    if small:
        console.print("A small run: it shows that the benchmark works; its figures mean nothing.")
    done: list[CaseResult] = []
    with fresh_home(results / "home") as home, console.status("setting up") as status:
        setting = BenchSetting(home=home, console=console, small=small, with_ray=with_ray)
        # A generator: what a case needs is set up when its turn comes and torn down after it, also after an error.
        with closing(cases(setting)) as prepared:
            for case in prepared:
                result = run_case(case, rounds=rounds, on_round=status.update)
                show([result], console)
                done.append(result)
    path = results / f"{name}.json"
    write(path, document(name, done, machine=machine, at=at, rounds=rounds, small=small))
    console.print(f"Written to {path}.", soft_wrap=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
