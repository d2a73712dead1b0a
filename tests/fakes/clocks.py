"""A clock that stands still until it is moved."""

from datetime import UTC, datetime, timedelta


class FixedClock:
    """`core.clock.Clock` at a chosen moment."""

    def __init__(self, moment: datetime = datetime(2025, 3, 3, 12, tzinfo=UTC)) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def advance(self, step: timedelta) -> None:
        self.moment += step
