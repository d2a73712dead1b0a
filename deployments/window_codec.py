"""One student's feature window as bytes for the cache.

Fixed layout of little-endian arrays for T steps; a window of another T or another release has another length and is
read as a miss. T is the contract's window, and the contract's fingerprint is part of the cache field.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURE_NAMES, MODALITIES, SUPPORT_COLUMNS
from edupulse_ml.core.sequences import SequenceBatch

_FLOATS: Final = (("values", len(FEATURE_NAMES)), ("support", len(SUPPORT_COLUMNS)), ("aux", len(AUX_COLUMNS)))
_INTS: Final = ("week", "grade_level")


def window_size_bytes(window_weeks: int) -> int:
    """Length of an encoded window of `window_weeks` steps."""
    floats = sum(width for _, width in _FLOATS) * window_weeks + len(CONTEXT_COLUMNS)
    return 4 * (floats + len(_INTS) * window_weeks) + len(MODALITIES) * window_weeks


def encode_window(batch: SequenceBatch, row: int) -> bytes:
    """Row `row` of `batch`; inverse of `decode_window`."""
    parts: list[NDArray[np.generic]] = [getattr(batch, name)[row].astype("<f4") for name, _ in _FLOATS]
    parts.append(batch.context[row].astype("<f4"))
    parts.extend(getattr(batch, name)[row].astype("<i4") for name in _INTS)
    parts.append(batch.mask[row].astype(np.uint8))
    return b"".join(part.tobytes() for part in parts)


def decode_window(data: bytes, *, window_weeks: int) -> SequenceBatch | None:
    """A batch of one window, or None where `data` does not have the length of one."""
    if len(data) != window_size_bytes(window_weeks):
        return None
    arrays: dict[str, NDArray[np.generic]] = {}
    at = 0
    for name, width in (*_FLOATS, ("context", 0)):
        count = width * window_weeks or len(CONTEXT_COLUMNS)
        shape = (1, window_weeks, width) if width else (1, count)
        arrays[name] = np.frombuffer(data, "<f4", count, at).reshape(shape)
        at += 4 * count
    for name in _INTS:
        arrays[name] = np.frombuffer(data, "<i4", window_weeks, at).reshape(1, window_weeks)
        at += 4 * window_weeks
    mask = np.frombuffer(data, np.uint8, offset=at).reshape(1, window_weeks, len(MODALITIES)).astype(np.bool_)
    return SequenceBatch(mask=mask, **arrays)  # pyright: ignore[reportArgumentType] - dtypes follow from the layout
