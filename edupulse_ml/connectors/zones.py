"""Local and UTC time of whole columns. Offsets are looked up once per quarter of an hour that occurs, with Python's
own zone data, so that a machine without a system zone database gives the same answer.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

_US_PER_DAY: Final = 86_400_000_000
_US_PER_QUARTER: Final = 900_000_000
_QUARTERS_KEPT: Final = 2**15
"""Those of the school days of many years: every chunk of a file names nearly the same."""
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  (wall-clock time: its zone is given apart)


def local_to_utc_us(local_us: Int64, zone: ZoneInfo) -> Int64:
    """Microseconds since 1970 in UTC of wall-clock microseconds in `zone`.

    An hour that occurs twice counts as its first occurrence; an hour that is skipped is read with the offset before
    the change.
    """
    return local_us - _offsets_us(local_us, zone, _offset_of_local)


def utc_to_local_us(utc_us: Int64, zone: ZoneInfo) -> Int64:
    """Wall-clock microseconds in `zone`; inverse of `local_to_utc_us`, apart from hours that occur twice."""
    return utc_us + _offsets_us(utc_us, zone, _offset_of_utc)


def local_days(utc_us: Int64, zone: ZoneInfo) -> NDArray[np.int32]:
    """Day number, in `zone`, of each moment."""
    return (utc_to_local_us(utc_us, zone) // _US_PER_DAY).astype(np.int32)


def start_of_local_days_us(days: NDArray[np.integer], zone: ZoneInfo) -> Int64:
    """The moments, in UTC microseconds, at which local days begin."""
    return local_to_utc_us(days.astype(np.int64) * _US_PER_DAY, zone)


def _offsets_us(wall_us: Int64, zone: ZoneInfo, offset_of: Callable[[int, ZoneInfo], int]) -> Int64:
    quarters = pa.array(wall_us // _US_PER_QUARTER).dictionary_encode()
    starts = quarters.dictionary.to_pylist()
    per_quarter = np.array([offset_of(start, zone) for start in starts], dtype=np.int64)
    return per_quarter[quarters.indices.to_numpy()] if len(wall_us) else wall_us


@lru_cache(maxsize=_QUARTERS_KEPT)
def _offset_of_local(quarter: int, zone: ZoneInfo) -> int:
    return _microseconds((_EPOCH + timedelta(microseconds=quarter * _US_PER_QUARTER)).replace(tzinfo=zone))


@lru_cache(maxsize=_QUARTERS_KEPT)
def _offset_of_utc(quarter: int, zone: ZoneInfo) -> int:
    moment = (_EPOCH + timedelta(microseconds=quarter * _US_PER_QUARTER)).replace(tzinfo=UTC)
    return _microseconds(moment.astimezone(zone))


def _microseconds(local: datetime) -> int:
    return (local.utcoffset() or timedelta()) // timedelta(microseconds=1)
