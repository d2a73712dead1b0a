"""Local time of whole columns agrees with Python's own, one moment at a time."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from edupulse_ml.connectors.zones import local_days, local_to_utc_us, start_of_local_days_us, utc_to_local_us
from edupulse_ml.core.weeks import local_day

ZONES = ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize("name", ZONES)
def test_days_and_round_trips_over_a_year(name):
    zone = ZoneInfo(name)
    moments = [datetime(2024, 1, 1, 0, 7, 3, tzinfo=UTC) + timedelta(minutes=97 * i) for i in range(5_500)]
    utc = np.array([microseconds(moment) for moment in moments])
    assert local_days(utc, zone).tolist() == [local_day(moment, zone) for moment in moments]
    walls = [moment.astimezone(zone).replace(tzinfo=UTC) for moment in moments]
    assert utc_to_local_us(utc, zone).tolist() == [microseconds(wall) for wall in walls]
    first = [wall.replace(tzinfo=zone, fold=0).astimezone(UTC) for wall in walls]
    assert local_to_utc_us(utc_to_local_us(utc, zone), zone).tolist() == [microseconds(moment) for moment in first]


def test_a_local_day_begins_at_its_own_midnight():
    zone = ZoneInfo("America/New_York")
    days = np.array([local_day(datetime(2025, 3, d, 12, tzinfo=UTC), zone) for d in (9, 10)], dtype=np.int32)
    starts = [EPOCH + timedelta(microseconds=int(us)) for us in start_of_local_days_us(days, zone)]
    assert starts == [datetime(2025, 3, 9, 5, tzinfo=UTC), datetime(2025, 3, 10, 4, tzinfo=UTC)]


def test_no_moments_no_offsets():
    assert local_days(np.array([], dtype=np.int64), ZoneInfo("UTC")).tolist() == []
