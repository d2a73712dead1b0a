"""What this home folder's servers are: `stack.json`, written atomically under a file lock."""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jobs.stack.paths import StackPaths
from jobs.stack.processes import ManagedProcess


@dataclass(frozen=True)
class StackState:
    """The servers that were started and not stopped since; each may have died meanwhile."""

    processes: tuple[ManagedProcess, ...] = ()

    def get(self, name: str) -> ManagedProcess | None:
        return next((process for process in self.processes if process.name == name), None)

    def put(self, process: ManagedProcess) -> "StackState":
        """This state with `process` in place of the one of the same name."""
        return replace(self, processes=(*self.without(process.name).processes, process))

    def without(self, name: str) -> "StackState":
        return replace(self, processes=tuple(process for process in self.processes if process.name != name))


def load_state(paths: StackPaths) -> StackState:
    """The state as last saved; empty if there is none, or if the file is not one of this version."""
    try:
        document = json.loads(paths.state.read_text(encoding="utf-8"))
        return StackState(tuple(_process(entry) for entry in document["processes"]))
    except (OSError, ValueError, TypeError, KeyError):
        return StackState()


def _process(entry: dict[str, Any]) -> ManagedProcess:
    return ManagedProcess(**{**entry, "ports": tuple((use, port) for use, port in entry["ports"])})


def save_state(paths: StackPaths, state: StackState) -> None:
    """Replace the saved state; a reader sees the old or the new one, never a part."""
    document = {"processes": [asdict(process) for process in state.processes]}
    write_atomically(paths.state, json.dumps(document, indent=2) + "\n")


def remember(paths: StackPaths, process: ManagedProcess) -> None:
    """Add or replace one server in the saved state."""
    with exclusive(paths, "state"):
        save_state(paths, load_state(paths).put(process))


def forget(paths: StackPaths, name: str) -> None:
    """Remove one server from the saved state."""
    with exclusive(paths, "state"):
        save_state(paths, load_state(paths).without(name))


@contextlib.contextmanager
def exclusive(paths: StackPaths, name: str) -> Iterator[None]:
    """Hold the home folder's lock `name`; a second holder, in this process or another, waits. The system drops the
    lock of a process that dies.
    """
    paths.home.mkdir(parents=True, exist_ok=True)
    with (paths.home / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write `text` to `path` in one step, with the permissions `mode` from the start."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=mode)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
