"""Which rows of a file may repeat the key of another one: in constant memory, and never missing a repetition."""

# pyarrow ships without types, so that strict mode knows nothing of what it returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SLOT_BITS: Final = 26
"""64 MiB, of which a small file touches little. Every key marks two slots: with a key per twenty slots one row in three
hundred is taken for a repetition without being one, which costs time but changes nothing."""
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)


class SeenKeys:
    """Remembers the keys of one file, chunk after chunk."""

    def __init__(self, *, slot_bits: int = _SLOT_BITS) -> None:
        self._shift = np.uint64(64 - slot_bits)
        self._seen = np.zeros(1 << slot_bits, dtype=np.bool_)

    def add(self, columns: Sequence[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Takes in a chunk's keys, made of these columns (numbers, or dictionary-encoded Arrow texts), and returns for
        each row [R] whether its key may stand in a chunk before, and whether it may stand on another row of this one.
        """
        mixed = _mixed(columns)
        slots = [(value >> self._shift).astype(np.int64) for value in (mixed, mixed * _FACTOR)]
        before = self._seen[slots[0]] & self._seen[slots[1]]
        in_order = np.sort(mixed)
        twice = in_order[1:][in_order[1:] == in_order[:-1]]
        for slot in slots:
            self._seen[slot] = True
        return before, np.isin(mixed, twice)


def _mixed(columns: Sequence[Any]) -> NDArray[np.uint64]:
    mixed = np.zeros(1, dtype=np.uint64)
    for column in columns:
        mixed = (mixed ^ _numbers(column)) * _FACTOR
        mixed ^= mixed >> _HALF
    return mixed * _FACTOR


def _numbers(column: Any) -> NDArray[np.uint64]:
    if isinstance(column, np.ndarray):
        return column.astype(np.int64).view(np.uint64)
    names = column.dictionary.to_pylist()
    hashes = np.fromiter((hash(name) for name in names), np.int64, len(names))
    return hashes[column.indices.to_numpy()].view(np.uint64)
