"""Where the API of a home folder is: a file that `edupulse up` writes and clients read."""

from pathlib import Path
from typing import Final

API_URL_FILE: Final = "api-url"


def api_url_path(home: Path) -> Path:
    """The file that holds the URL while the stack of `home` runs."""
    return home / API_URL_FILE


def read_api_url(home: Path) -> str | None:
    """The URL of the API that was started from `home`; None where none was."""
    try:
        return api_url_path(home).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
