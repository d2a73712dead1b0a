"""Which champions stood before the present one, and may be returned to."""

from collections.abc import Sequence
from typing import Protocol

from edupulse_ml.storage.promotions import PromotionKind


class Move(Protocol):
    """A decision after which the champion moved."""

    @property
    def kind(self) -> PromotionKind: ...
    @property
    def from_version(self) -> str | None: ...
    @property
    def to_version(self) -> str: ...


def way_back(moves: Sequence[Move], *, champion: str, previous: str | None = None) -> tuple[str, ...]:
    """Versions that were the champion before `champion`, the latest first; `moves` are given oldest first. `previous`, if
    the registry names one, comes before all others: a champion may be older than the moves that were kept.

    A version that was withdrawn and not promoted since is left out: nobody returns to what was taken back.
    """
    stood: list[str] = []
    withdrawn: set[str | None] = set()
    for move in moves:
        if move.from_version is not None:
            # The note of a move is lost where its process is killed, or where somebody moves the alias by hand.
            _return_to(stood, move.from_version)
        if move.kind == "rollback":
            withdrawn |= {move.from_version}
            _return_to(stood, move.to_version)
        else:
            # Whoever is replaced by a promotion was the champion, so it was promoted after it had been withdrawn.
            withdrawn -= {move.from_version, move.to_version}
            stood.append(move.to_version)
    _return_to(stood, champion)
    earlier = dict.fromkeys(version for version in (previous, *reversed(stood)) if version is not None)
    return tuple(version for version in earlier if version != champion and version not in withdrawn)


def _return_to(stood: list[str], version: str) -> None:
    """Let the list end where `version` stood last; at its end if it stood nowhere."""
    if version not in stood:
        stood.append(version)
    while stood[-1] != version:
        stood.pop()
