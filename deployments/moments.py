"""Which moment a question is about."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from edupulse_ml.core.errors import DependencyDownError, InvalidInputError, NotFoundError
from edupulse_ml.core.ports import RecordReader

EARLIEST: Final = date(1990, 1, 1)
"""No record file holds an earlier school year."""
DISTRICT: Final = "district"
"""Name under which a missing district is reported."""


class AsOfError(InvalidInputError):
    """`as_of` is not a moment that can be asked about."""


def resolve_as_of(asked: datetime | date | None, *, now: datetime, zone: ZoneInfo) -> datetime:
    """The moment (UTC) that is meant: now, the moment itself, or the end of the day in the district's zone.

    Today's date means now, because the day has not ended.

    Raises:
        AsOfError: the moment lies in the future, before 1990, or has no time zone.
    """
    if asked is None:
        return now
    today = now.astimezone(zone).date()
    if isinstance(asked, datetime):
        return _resolve_moment(asked, now=now)
    if asked > today:
        msg = "as_of lies in the future: ask for today or an earlier day."
        raise AsOfError(msg)
    _require_recent(asked)
    midnight = datetime.combine(asked + timedelta(days=1), time(), tzinfo=zone).astimezone(UTC)
    return min(midnight - timedelta(seconds=1), now)


def _resolve_moment(asked: datetime, *, now: datetime) -> datetime:
    if asked.tzinfo is None:
        msg = "as_of needs a time zone, such as 2026-03-02T08:00:00Z; or give a date without a time."
        raise AsOfError(msg)
    _require_recent(asked.date())
    if asked > now:
        msg = "as_of lies in the future: leave it out to ask for now."
        raise AsOfError(msg)
    return asked.astimezone(UTC)


def _require_recent(day: date) -> None:
    if day < EARLIEST:
        msg = f"as_of lies before {EARLIEST.isoformat()}: there are no records of that time."
        raise AsOfError(msg)


class DistrictUnavailableError(DependencyDownError):
    """The database does not hold the district that this process works for; no question can be answered."""


async def read_zone(reader: RecordReader) -> ZoneInfo:
    """The zone in which the district's days begin.

    Raises:
        DistrictUnavailableError: the database does not hold the district.
        DependencyDownError: PostgreSQL does not answer.
    """
    try:
        return ZoneInfo((await reader.district()).timezone)
    except NotFoundError as error:
        raise DistrictUnavailableError(str(error), dependency=DISTRICT) from error


class DistrictZone:
    """The district's zone, read from the store once; raises as `read_zone` does."""

    def __init__(self, reader: RecordReader) -> None:
        self._reader = reader
        self._zone: ZoneInfo | None = None

    async def __call__(self) -> ZoneInfo:
        if self._zone is None:
            self._zone = await read_zone(self._reader)
        return self._zone
