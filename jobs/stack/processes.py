"""Start server processes that outlive us, find them again, and end them and nobody else.

A process is known by its pid together with a marker in its environment (or its start time), so that a pid that the
system gave to somebody else is never mistaken for ours.
"""

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from edupulse_ml.core.errors import DependencyDownError

MARKER: Final = "EDUPULSE_STACK_PROCESS"
_START_TIME_TOLERANCE_S: Final = 1.0
_children: Final[dict[int, "subprocess.Popen[bytes]"]] = {}
"""Our own children that still run: kept so that an ended one is reaped and does not look alive as a zombie."""


class ServerStartError(DependencyDownError):
    """A server that we started ended, or did not answer in time."""


@dataclass(frozen=True)
class ManagedProcess:
    """One server that we started. `marker` is in its environment and in that of all it started; empty where the
    server overwrites its environment. `fingerprint` changes with what it was started with.
    """

    name: str
    pid: int
    create_time: float
    marker: str
    log: str
    url: str = ""
    ports: tuple[tuple[str, int], ...] = ()
    fingerprint: str = ""

    def port(self, use: str) -> int:
        """The port kept for `use`.

        Raises:
            KeyError: there is none of that name.
        """
        return dict(self.ports)[use]


def spawn(
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    cwd: Path,
) -> ManagedProcess:
    """Start `command` in a session of its own, its output appended to `log`.

    Raises:
        ServerStartError: the program cannot be executed.
    """
    marker = f"{name}:{secrets.token_hex(8)}"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, MARKER: marker},
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            msg = f"{name} cannot be started ({error.strerror}): check that {command[0]} exists and may be executed."
            raise ServerStartError(msg, dependency=name) from error
    _children[child.pid] = child
    return ManagedProcess(name, child.pid, _create_time(child.pid), marker, str(log))


def adopt(name: str, pid: int, *, log: Path) -> ManagedProcess:
    """A server that another program started for us (`pg_ctl`), known by pid and start time."""
    return ManagedProcess(name, pid, _create_time(pid), "", str(log))


def is_alive(process: ManagedProcess) -> bool:
    """Whether the very process that was started still runs."""
    return _leader(process) is not None


def end(process: ManagedProcess, *, grace_s: float, first_signal: signal.Signals = signal.SIGTERM) -> None:
    """Ask the process to end, wait up to `grace_s`, then kill what is left of it and of what it started."""
    leader = _leader(process)
    members = _members(process, leader)
    if leader is not None:
        _send(leader, first_signal)
        _wait(leader, grace_s)
    kill(sorted({*members, *_members(process, _leader(process))}, key=lambda member: member.pid))


def kill(members: Sequence[psutil.Process]) -> None:
    """Kill these processes and wait until they are gone."""
    left = [member for member in members if _running(member)]
    for member in left:
        _send(member, signal.SIGKILL)
    for member in left:
        _wait(member, 5.0)


def last_lines(log: Path, *, count: int = 15) -> str:
    """The end of a log file; empty if there is none."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
    except OSError:
        return ""


def make_private(folder: Path, *, server: str) -> None:
    """Create the folder where needed, and close it to everybody else.

    Raises:
        ServerStartError: somebody else put something there; `server` is who needs the folder.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        msg = f"{folder} belongs to somebody else: remove it, or set EDUPULSE_HOME to a folder with a shorter path."
        raise ServerStartError(msg, dependency=server)
    folder.chmod(0o700)


def _create_time(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def _leader(process: ManagedProcess) -> psutil.Process | None:
    try:
        found = psutil.Process(process.pid)
        if not _running(found):
            return None
        same_start = abs(found.create_time() - process.create_time) < _START_TIME_TOLERANCE_S
    except psutil.Error:
        return None
    return found if same_start or _carries(found, process.marker) else None


def _members(process: ManagedProcess, leader: psutil.Process | None) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    if leader is not None:
        found.add(leader)
        with contextlib.suppress(psutil.NoSuchProcess):
            found.update(leader.children(recursive=True))
    if process.marker:
        found.update(other for other in psutil.process_iter() if _carries(other, process.marker))
    return {member for member in found if member.pid != os.getpid()}


def _carries(process: psutil.Process, marker: str) -> bool:
    if not marker:
        return False
    try:
        return process.environ().get(MARKER) == marker
    except (psutil.Error, OSError):
        return False


def _running(process: psutil.Process) -> bool:
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        del _children[process.pid]
        return False
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _wait(process: psutil.Process, timeout_s: float) -> None:
    child = _children.get(process.pid)
    try:
        if child is None:
            process.wait(timeout_s)
        else:
            child.wait(timeout_s)
            _children.pop(process.pid, None)
    except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
        pass
