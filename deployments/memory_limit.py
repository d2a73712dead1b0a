"""Bounds the memory of a process, so that a model that eats it fails alone and takes no neighbour down."""

import resource
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_MIB: Final = 2**20


def bound_memory(more_mib: int) -> bool:
    """From now on this process gets at most `more_mib` MiB of private memory beyond what it has; an allocation past that
    fails, in Python as a `MemoryError`. False where the operating system does not say what the process has.
    """
    held = _private_bytes()
    if held is None:
        return False
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + more_mib * _MIB
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    return True


def _private_bytes() -> int | None:
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "VmData":
            return int(value.split()[0]) * 1024
    return None
