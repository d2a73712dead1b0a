"""Ask a local server over HTTP whether it is there."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from jobs.stack.processes import ManagedProcess, ServerStartError, end, is_alive, last_lines

_REQUEST_TIMEOUT_S = 5.0


def answers(url: str, *, timeout_s: float = _REQUEST_TIMEOUT_S) -> bool:
    """Whether a GET of `url` succeeds."""
    try:
        # A proxy set for the outside world must not be asked for a local server.
        return httpx.get(url, timeout=timeout_s, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def wait_for(process: ManagedProcess, ready: Callable[[], bool], *, timeout_s: float) -> None:
    """Return once `ready()`; else end the process.

    Raises:
        ServerStartError: it ended, or is not ready in time; the message holds the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and is_alive(process):
        if ready():
            return
        time.sleep(0.2)
    what = "is not ready in time" if is_alive(process) else "ended right after its start"
    end(process, grace_s=5.0)
    msg = f"{process.name} {what}. The end of {process.log}:\n{last_lines(Path(process.log))}"
    raise ServerStartError(msg, dependency=process.name)
