"""Which TCP ports are free, and whether a Unix socket is served."""

import contextlib
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from edupulse_ml.core.errors import ConflictError

LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def choosing_ports() -> Iterator[None]:
    """Hold this user's lock on choosing ports, from the first look until the servers listen: two homes that start at
    the same moment would find the same ports free. The system drops the lock of a process that dies.
    """
    path = Path(tempfile.gettempdir()) / f"edupulse-ports-{os.getuid()}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` of any local address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def next_free(preferred: int, *, taken: Iterable[int] = (), tries: int = 100) -> int:
    """`preferred` if it is free and not in `taken`, else the next one that is; 0 asks the system for any.

    Raises:
        ConflictError: none of `tries` ports in a row is free.
    """
    refused = set(taken)
    if preferred == 0:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, 0))
            return int(probe.getsockname()[1])
    for port in range(preferred, min(preferred + tries, 65536)):
        if port not in refused and is_free(port):
            return port
    msg = f"No port from {preferred} to {min(preferred + tries, 65536) - 1} is free: set another one."
    raise ConflictError(msg)


def free_block(ports: range, *, size: int, first_look: int) -> int:
    """The first of `size` neighbouring ports in `ports` of which none is in use; block number `first_look`, modulo the
    number of blocks, is looked at first.

    Raises:
        ConflictError: no block is free.
    """
    blocks = len(ports) // size
    for offset in range(blocks):
        first = ports.start + (first_look + offset) % blocks * size
        if all(is_free(port) for port in range(first, first + size)):
            return first
    msg = f"No {size} neighbouring ports from {ports.start} to {ports.stop - 1} are free: end what holds them."
    raise ConflictError(msg)


def listens(unix_socket: Path) -> bool:
    """Whether a server accepts connections on the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(2.0)
        try:
            client.connect(str(unix_socket))
        except OSError:
            return False
    return True
