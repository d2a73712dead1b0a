"""Feature arrays: what `features` produces, the store keeps and models read.

Legend of shape suffixes: N students, S steps of a student's whole record, B examples, T steps of a window,
F = 42 features, P support columns, M = 3 modalities, A aux channels, C context columns.
All sequences are left-aligned: real steps first, padding after. A step is one instructional week of the student.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURE_NAMES, MODALITIES, SUPPORT_COLUMNS

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

PAD: Final = -1
"""Week, school, grade level and school year of a padding step."""

_WEEK_OF_YEAR: Final = AUX_COLUMNS.index("week_of_school_year")
WEEKS_PER_SCHOOL_YEAR: Final = 40


@dataclass(frozen=True)
class FeatureBlock:
    """Weekly features of N students over their whole record, one row per instructional week.

    Row (n, s) holds what was known at the cutoff of `week[n, s]` and nothing later. Values that do not exist are
    NaN; `mask` says per modality whether anything was known. Padding: `week` is `PAD`, numbers NaN, masks False.
    """

    week: Int32
    """[N, S] Monday's day number, rising along a row, `PAD` after the student's last step."""
    values: Float32
    """[N, S, F] raw features in the units of the catalogue, unshrunk."""
    support: Float32
    """[N, S, P] denominators."""
    mask: Bool
    """[N, S, M]"""
    aux: Float32
    """[N, S, A] in the scaled units of `contract.AUX_COLUMNS`."""
    context: Float32
    """[N, S, C] as known at that step."""
    school: Int32
    """[N, S] position in the record set's calendars."""
    grade_level: Int32
    """[N, S]"""
    school_year: Int32
    """[N, S] calendar year in which the school year starts."""

    @property
    def n_students(self) -> int:
        return self.week.shape[0]

    @property
    def n_steps(self) -> Int32:
        """[N] number of real steps."""
        return (self.week != PAD).sum(axis=1).astype(np.int32)

    def select(self, students: Sequence[int] | Int32) -> "FeatureBlock":
        """The rows of some students, in the order given."""
        return FeatureBlock(**{f.name: getattr(self, f.name)[np.asarray(students)] for f in fields(self)})


@dataclass(frozen=True)
class SequenceBatch:
    """B windows of at most T steps, the last real step being the one that is scored. Left-aligned, see above."""

    values: Float32
    """[B, T, F] raw features, unshrunk; NaN where unknown or padding."""
    support: Float32
    """[B, T, P]"""
    mask: Bool
    """[B, T, M]"""
    aux: Float32
    """[B, T, A]"""
    context: Float32
    """[B, C] as known at the scored step."""
    week: Int32
    """[B, T] Monday's day number, `PAD` after the last real step."""
    grade_level: Int32
    """[B, T]"""

    @property
    def n_examples(self) -> int:
        return self.week.shape[0]

    @property
    def length(self) -> Int32:
        """[B] real steps per window."""
        return (self.week != PAD).sum(axis=1).astype(np.int32)

    @property
    def week_of_school_year(self) -> Int32:
        """[B, T] 1-based week of the school year, 0 where padding."""
        return week_of_school_year(self.aux)

    def select(self, rows: Sequence[int] | NDArray[np.integer] | Bool | slice) -> "SequenceBatch":
        """The examples at `rows`."""
        return SequenceBatch(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def latest(self, window_weeks: int) -> "SequenceBatch":
        """The same student-weeks seen through windows of `window_weeks`, no longer than these: their last steps."""
        start = np.maximum(self.length - window_weeks, 0)
        column = start[:, None] + np.arange(window_weeks, dtype=np.int32)[None, :]
        row = np.arange(self.n_examples)[:, None]
        # What follows the last real step is padding in these windows, too.
        per_step = ("values", "support", "mask", "aux", "week", "grade_level")
        return replace(self, **{name: getattr(self, name)[row, column] for name in per_step})


def week_of_school_year(aux: Float32) -> Int32:
    """Week number from the aux channels [..., A]: shape [...], 0 where unknown."""
    scaled = np.nan_to_num(aux[..., _WEEK_OF_YEAR], nan=0.0)
    return np.rint(scaled * WEEKS_PER_SCHOOL_YEAR).astype(np.int32)


def windows_ending_at(block: FeatureBlock, *, student: Int32, step: Int32, window_weeks: int) -> SequenceBatch:
    """One window per (student, step) pair, each the last `window_weeks` steps up to and including `step`.

    `student` and `step` have shape [B]; `step` counts from 0 and must be a real step.
    """
    start = np.maximum(step - window_weeks + 1, 0)
    columns = start[:, None] + np.arange(window_weeks, dtype=np.int32)[None, :]
    real = columns <= step[:, None]
    columns = np.minimum(columns, block.week.shape[1] - 1)
    rows = student[:, None]

    def gather_float(source: Float32) -> Float32:
        taken = source[rows, columns]
        taken[~real] = np.nan
        return taken

    mask = block.mask[rows, columns]
    mask[~real] = False
    return SequenceBatch(
        values=gather_float(block.values),
        support=gather_float(block.support),
        mask=mask,
        aux=gather_float(block.aux),
        context=block.context[student, step],
        week=np.where(real, block.week[rows, columns], PAD).astype(np.int32),
        grade_level=np.where(real, block.grade_level[rows, columns], PAD).astype(np.int32),
    )


def concatenate_batches(batches: Iterable[SequenceBatch]) -> SequenceBatch:
    """Several batches of equal window length as one."""
    parts = list(batches)
    return SequenceBatch(
        **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(SequenceBatch)}
    )


def concatenate_blocks(blocks: Sequence[FeatureBlock]) -> FeatureBlock:
    """Several blocks of students as one, padded to the longest record."""
    steps = max(block.week.shape[1] for block in blocks)

    def padded(name: str) -> NDArray[np.generic]:
        arrays = [getattr(block, name) for block in blocks]
        fill = {"f": np.nan, "b": False, "i": PAD}[arrays[0].dtype.kind]
        return np.concatenate(
            [
                np.pad(a, [(0, 0), (0, steps - a.shape[1])] + [(0, 0)] * (a.ndim - 2), constant_values=fill)
                for a in arrays
            ]
        )

    return FeatureBlock(**{f.name: padded(f.name) for f in fields(FeatureBlock)})  # pyright: ignore[reportArgumentType]


def empty_windows(n: int, *, window_weeks: int) -> SequenceBatch:
    """`n` windows without any step."""

    def missing(*shape: int) -> Float32:
        return np.full(shape, np.nan, dtype=np.float32)

    return SequenceBatch(
        values=missing(n, window_weeks, len(FEATURE_NAMES)),
        support=missing(n, window_weeks, len(SUPPORT_COLUMNS)),
        mask=np.zeros((n, window_weeks, len(MODALITIES)), dtype=np.bool_),
        aux=missing(n, window_weeks, len(AUX_COLUMNS)),
        context=missing(n, len(CONTEXT_COLUMNS)),
        week=np.full((n, window_weeks), PAD, dtype=np.int32),
        grade_level=np.full((n, window_weeks), PAD, dtype=np.int32),
    )


def last_windows(block: FeatureBlock, *, window_weeks: int) -> SequenceBatch:
    """The window ending at the last step of each of the block's students, without any step where there is none."""
    last = block.n_steps - 1
    rows = np.flatnonzero(last >= 0).astype(np.int32)
    if len(rows) == 0:
        return empty_windows(block.n_students, window_weeks=window_weeks)
    real = windows_ending_at(block, student=rows, step=last[rows], window_weeks=window_weeks)
    if len(rows) == block.n_students:
        return real
    position = np.full(block.n_students, len(rows), dtype=np.int32)
    position[rows] = np.arange(len(rows), dtype=np.int32)
    return concatenate_batches([real, empty_windows(1, window_weeks=window_weeks)]).select(position)
