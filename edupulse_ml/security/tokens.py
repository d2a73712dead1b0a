"""Bearer tokens: made, kept in a file that only its owner reads, and compared without telling how far they agree."""

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from edupulse_ml.core.errors import UnauthorizedError

TOKEN_FILE: Final = "token"  # noqa: S105 - the name of the file, not its content
_TOKEN_BYTES: Final = 32


class TokenMissingError(UnauthorizedError):
    """Neither the environment nor the home folder holds a token."""


def make_token() -> str:
    """A new token of 256 random bits, safe in a URL and a header."""
    return f"edp_{secrets.token_urlsafe(_TOKEN_BYTES)}"


def hash_token(token: str) -> str:
    """Hexadecimal SHA-256 of a token, 64 digits. Tokens are random, so a slow hash would protect nothing more."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_matches(token: str, token_sha256: str) -> bool:
    """Whether `token` has this hash, compared in constant time."""
    return hmac.compare_digest(hash_token(token), token_sha256.lower())


def token_path(home: Path) -> Path:
    """Where the token of a home folder is kept."""
    return home / TOKEN_FILE


def write_token_file(home: Path, token: str) -> Path:
    """Write `token` for its owner only (mode 0600); a reader sees the old or the new one, never a part."""
    home.mkdir(parents=True, exist_ok=True)
    target = token_path(home)
    descriptor, scratch = tempfile.mkstemp(dir=home, prefix=".token-")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(target)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    return target


def ensure_token(home: Path) -> str:
    """The token of a home folder, made at the first call; two processes at once get the same one."""
    target = token_path(home)
    if target.is_file():
        return _read(target)
    home.mkdir(parents=True, exist_ok=True)
    scratch = write_token_file(Path(tempfile.mkdtemp(dir=home, prefix=".token-")), make_token())
    try:
        target.hardlink_to(scratch)  # fails where another process was faster, whose token then counts
    except FileExistsError:
        pass
    finally:
        scratch.unlink()
        scratch.parent.rmdir()
    return _read(target)


def read_token(home: Path, *, given: str | None) -> str:
    """The token to use: `given` (from the environment), else the one in the home folder.

    Raises:
        TokenMissingError: there is neither.
    """
    if given:
        return given
    target = token_path(home)
    if not target.is_file():
        msg = f"There is no token in {target}: run `make up`, or set EDUPULSE_TOKEN."
        raise TokenMissingError(msg)
    return _read(target)


def _read(path: Path) -> str:
    token = path.read_text().strip()
    if not token:
        msg = f"The token file {path} is empty: delete it and run `make up` again."
        raise TokenMissingError(msg)
    return token
