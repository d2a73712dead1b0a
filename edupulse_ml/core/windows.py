"""Feature windows as bytes: one fixed-size little-endian record per window, read for many students in one step.

A record of T steps holds the arrays of a `SequenceBatch` one after the other. A window of another T or of another
release's columns has another length; T is the contract's window, and whoever keeps records keeps the contract's
fingerprint beside them.
"""

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURE_NAMES, MODALITIES, SUPPORT_COLUMNS
from edupulse_ml.core.sequences import SequenceBatch

_STEP_FLOATS: Final = (("values", len(FEATURE_NAMES)), ("support", len(SUPPORT_COLUMNS)), ("aux", len(AUX_COLUMNS)))
_STEP_INTEGERS: Final = ("week", "grade_level")


@cache
def _record(window_weeks: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            *((name, "<f4", (window_weeks, width)) for name, width in _STEP_FLOATS),
            ("context", "<f4", (len(CONTEXT_COLUMNS),)),
            *((name, "<i4", (window_weeks,)) for name in _STEP_INTEGERS),
            ("mask", "?", (window_weeks, len(MODALITIES))),
        ]
    )


def window_size_bytes(window_weeks: int) -> int:
    """Length of the record of one window of `window_weeks` steps."""
    return _record(window_weeks).itemsize


def encode_windows(batch: SequenceBatch) -> list[bytes]:
    """One record per window, in the batch's order."""
    dtype = _record(batch.week.shape[1])
    records = np.empty(batch.n_examples, dtype)
    for name in dtype.names or ():
        records[name] = getattr(batch, name)
    data, size = records.tobytes(), dtype.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]


def decode_windows(data: bytes, *, window_weeks: int) -> SequenceBatch:
    """The windows whose records lie one after the other in `data`; inverse of `encode_windows`. The arrays are the
    batch's own.

    Raises:
        ValueError: `data` does not hold whole records of `window_weeks` steps.
    """
    records: NDArray[Any] = np.frombuffer(data, _record(window_weeks))
    return SequenceBatch(
        **{name: records[name].astype(records[name].dtype.newbyteorder("=")) for name in records.dtype.names or ()}
    )
