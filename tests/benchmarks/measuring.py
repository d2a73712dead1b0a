"""CPU time and memory of this process, and of trees of other processes."""

import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_SAMPLE_S: Final = 0.5
_MIB: Final = 2**20


@dataclass
class Stopwatch:
    """Wall and CPU seconds of the block it was opened for; valid once the block has ended."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Wall time and CPU time (all threads of this process) of the block."""
    watch = Stopwatch()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield watch
    finally:
        watch.cpu_s = time.process_time() - cpu
        watch.wall_s = time.perf_counter() - wall


def tree(pids: Sequence[int]) -> list[psutil.Process]:
    """These processes and all their descendants, each once; those that ended are left out."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with suppress(psutil.Error):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                found[process.pid] = process
    return list(found.values())


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU seconds used so far by the trees of `pids`, children that ended and were waited for included."""
    total = 0.0
    for process in tree(pids):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mib(pids: Sequence[int]) -> float:
    """Memory of the trees of `pids` in MiB; a page that several processes share counts once among them."""
    return sum(_proportional_bytes(process.pid) for process in tree(pids)) / _MIB


def own_peak_mib() -> float:
    """The largest resident memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _proportional_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    with suppress(psutil.Error):
        return psutil.Process(pid).memory_info().rss
    return 0


@dataclass
class TreeUsage:
    """What the watched processes used during a block; valid once it has ended. `memory_mib` holds the samples."""

    cpu_s: float
    memory_mib: list[float]

    @property
    def peak_mib(self) -> float:
        return max(self.memory_mib)


@contextmanager
def watched(pids: Callable[[], Sequence[int]]) -> Iterator[TreeUsage]:
    """CPU seconds and memory over time of the trees of `pids()` during the block."""
    usage = TreeUsage(0.0, [memory_mib(pids())])
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_S):
            usage.memory_mib.append(memory_mib(pids()))

    sampler = threading.Thread(target=sample, daemon=True)
    before = cpu_seconds(pids())
    sampler.start()
    try:
        yield usage
    finally:
        usage.cpu_s = cpu_seconds(pids()) - before
        ended.set()
        sampler.join()
        usage.memory_mib.append(memory_mib(pids()))
