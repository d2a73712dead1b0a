"""Where the embedded servers keep their files."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edupulse_ml.config.address import api_url_path

_LONGEST_SOCKET_PATH: Final = 103
"""Bytes in `sockaddr_un.sun_path` on the Unix with the least room (macOS), less the closing zero."""

_LONGEST_HAPROXY_SOCKET_PATH: Final = 97
"""HAProxy adds a process id and `.tmp` to it while it starts."""

_LONGEST_HAPROXY_SOCKET_NAME: Final = len("/metrics.sock") + 56
"""Ray puts the node's id, 56 hexadecimal digits, before the name."""

_LONGEST_RAY_SOCKET_SUFFIX: Final = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")


@dataclass(frozen=True)
class StackPaths:
    """Files and folders below one absolute home folder. Attributes name paths; none of them need exist yet."""

    home: Path

    @classmethod
    def of(cls, home: Path) -> "StackPaths":
        """Paths below `home`, a relative one being taken from the current folder."""
        return cls(home.expanduser().resolve())

    @property
    def state(self) -> Path:
        return self.home / "stack.json"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def token(self) -> Path:
        return self.home / "token"

    @property
    def api_url(self) -> Path:
        return api_url_path(self.home)

    @property
    def ray_token(self) -> Path:
        return self.home / "ray-token"

    @property
    def postgres_data(self) -> Path:
        return self.home / "postgres"

    @property
    def redis_data(self) -> Path:
        return self.home / "redis"

    @property
    def mlflow_database(self) -> Path:
        return self.home / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.home / "mlartifacts"

    def reports(self, district: str) -> Path:
        """Pages that jobs leave for a district's people; one home may serve several districts."""
        return self.home / "reports" / district

    def rejects(self, district: str, source: str) -> Path:
        """The rejected rows of a district's latest import of a source."""
        return self.home / "rejects" / district / f"{source}.csv"

    @property
    def identity(self) -> str:
        """Ten hexadecimal digits that tell this home from the others on the machine."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:10]

    def make(self) -> None:
        """Create the home folder and its logs folder."""
        self.logs.mkdir(parents=True, exist_ok=True)

    def socket_folder(self, preferred: Path, *, socket_name: str) -> Path:
        """`preferred` if a socket of that name fits in a Unix socket path there, else a short folder under the
        system's temporary one, the same at every call. The folder is not created.
        """
        if len(str(preferred / socket_name).encode()) <= _LONGEST_SOCKET_PATH:
            return preferred
        return self.short_folder(preferred.name)

    def short_folder(self, name: str) -> Path:
        """A folder with a short path that belongs to this home and `name`; not created."""
        return Path(tempfile.gettempdir()) / f"edupulse-{self.identity}-{name}"

    @property
    def ray_sessions(self) -> Path:
        """Ray's own temporary folder: in the home, or outside where its socket paths would be too long."""
        return self.socket_folder(self.home / "ray", socket_name="x" * (_LONGEST_RAY_SOCKET_SUFFIX - 1))

    @property
    def haproxy(self) -> Path:
        """HAProxy's files and sockets: in the home, or outside where its socket paths would be too long."""
        for folder in (self.home / "haproxy", self.short_folder("lb")):
            if len(f"{folder}/".encode()) + _LONGEST_HAPROXY_SOCKET_NAME <= _LONGEST_HAPROXY_SOCKET_PATH:
                return folder
        return Path("/tmp") / self.short_folder("lb").name  # noqa: S108  (made private, and refused if it is not ours)
