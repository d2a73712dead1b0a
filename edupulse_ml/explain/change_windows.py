"""The windows between two predictions of one student: what a model would have read had only a part of it changed.

A week that was scored is never judged anew (docs/decisions/0002), so a correction or a late record moves the score
through the weeks that close after it became known.
"""

from dataclasses import fields
from typing import Final

import numpy as np

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.sequences import (
    PAD,
    FeatureBlock,
    SequenceBatch,
    concatenate_batches,
    empty_windows,
    last_windows,
    windows_ending_at,
)

BEFORE: Final = 0
"""Row of the window that the earlier prediction read."""
REWRITTEN: Final = 1
"""The same weeks with records that were imported since and count as known by then."""
WITHOUT_LEFT: Final = 2
"""Without the weeks that have left the window."""
WITH_NEW: Final = 3
"""With the weeks since, as they would be had nothing about earlier times been corrected or come late."""
AFTER: Final = 4
"""The window of the later prediction."""


def change_windows(
    before: FeatureBlock, after: FeatureBlock, uncorrected: FeatureBlock, *, last_week: int, window_weeks: int
) -> SequenceBatch:
    """The five windows, in the order of the constants above, of blocks of one student each.

    `before` is what the earlier prediction knew, up to `last_week` (a Monday's day number), `after` what the later one
    knew, `uncorrected` the same without what became known in between about times before the earlier one. A window
    never has more weeks than the model was trained on, so those that left go before the new ones come. Where the two
    windows have no week in common, all of it counts as new.

    Raises:
        NotEnoughDataError: the records no longer hold a week of the earlier window.
    """
    first = last_windows(before, window_weeks=window_weeks)
    rewritten = _window_until(after, last_week, window_weeks=window_weeks)
    if not rewritten.length[0]:
        msg = (
            "The weeks of the earlier prediction are no longer in the student's records, because the enrolment was "
            "corrected: there is nothing left to compare with."
        )
        raise NotEnoughDataError(msg)
    with_new = last_windows(uncorrected, window_weeks=window_weeks)
    left = int((rewritten.week[0, : rewritten.length[0]] < with_new.week[0, 0]).sum())
    kept = rewritten if left == rewritten.length[0] else without_first(rewritten, left)
    return concatenate_batches([first, rewritten, kept, with_new, last_windows(after, window_weeks=window_weeks)])


def without_first(window: SequenceBatch, weeks: int) -> SequenceBatch:
    """The window without its first `weeks` steps; left-aligned as windows are."""
    columns = {field.name: getattr(window, field.name) for field in fields(window)}
    steps = window.week.shape[1]
    for name, column in columns.items():
        if name == "context":
            continue
        moved = np.empty_like(column)
        moved[:, : steps - weeks] = column[:, weeks:]
        moved[:, steps - weeks :] = {"f": np.nan, "b": False, "i": PAD}[column.dtype.kind]
        columns[name] = moved
    return SequenceBatch(**columns)


def _window_until(block: FeatureBlock, week: int, *, window_weeks: int) -> SequenceBatch:
    steps = int(((block.week[0] != PAD) & (block.week[0] <= week)).sum())
    if not steps:
        return empty_windows(1, window_weeks=window_weeks)
    return windows_ending_at(
        block,
        student=np.zeros(1, dtype=np.int32),
        step=np.array([steps - 1], dtype=np.int32),
        window_weeks=window_weeks,
    )
