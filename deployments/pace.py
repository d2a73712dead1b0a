"""How fast a queue is worked off under load, and so how many may wait in it."""

import math
from collections.abc import Callable
from time import monotonic
from typing import Final

_WEIGHT: Final = 0.2
"""Of the newest batch: one slow batch does not close the door, ten tell a new pace."""


class Pace:
    """Seconds per item while items wait, the one time at which the pace is that of the service and not of its callers.

    Args:
        max_wait_s: How long an item may have to wait, in seconds.
        least: Items that may wait at any pace.
        seconds: A clock that never goes back.
    """

    def __init__(self, *, max_wait_s: float, least: int, seconds: Callable[[], float] = monotonic) -> None:
        self._max_wait_s = max_wait_s
        self._least = least
        self._seconds = seconds
        self._per_item_s = 0.0
        self._last_done: float | None = None

    def room(self) -> float:
        """Items that may wait; infinite as long as no queue has formed."""
        return max(self._least, self._max_wait_s / self._per_item_s) if self._per_item_s > 0 else math.inf

    def done(self, items: int, *, waiting: int) -> None:
        """A batch of `items` has ended, `waiting` others still wait."""
        now = self._seconds()
        if self._last_done is not None and items:
            latest = (now - self._last_done) / items
            known = self._per_item_s
            self._per_item_s = latest if known == 0 else known + _WEIGHT * (latest - known)
        # A pause without a queue says nothing of the pace, so measuring begins anew when a queue has formed.
        self._last_done = now if waiting else None
        if not waiting:
            self._per_item_s *= 1 - _WEIGHT
