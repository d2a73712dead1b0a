"""How many students a replica has in hand, as a mean over time: what its hop is scaled by."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

STUDENTS: Final = "students"
"""Name of the figure among those that a replica reports to Serve's autoscaler."""


class InHand:
    """Counts the students of all calls under way. Belongs to one event loop.

    Serve looks at its replicas every few seconds. A count of that very moment would be chance where a batch takes
    milliseconds, hence the mean since the last look.

    Args:
        seconds: A clock that never goes back.
    """

    def __init__(self, seconds: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._now = 0
        self._student_seconds = 0.0
        self._counted_until = self._looked_at = seconds()

    @contextmanager
    def hold(self, students: int) -> Iterator[None]:
        """Count `students` as in hand inside the block."""
        self._change(students)
        try:
            yield
        finally:
            self._change(-students)

    def look(self) -> dict[str, float]:
        """Mean number of students in hand since the last look, under `STUDENTS`; of this moment where none passed."""
        self._change(0)
        passed = self._counted_until - self._looked_at
        mean = self._student_seconds / passed if passed > 0 else float(self._now)
        self._looked_at = self._counted_until
        self._student_seconds = 0.0
        return {STUDENTS: mean}

    def _change(self, students: int) -> None:
        now = self._seconds()
        self._student_seconds += self._now * (now - self._counted_until)
        self._counted_until = now
        self._now += students
