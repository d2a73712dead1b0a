"""When there is enough data to score a student, and what is missing otherwise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.predictions import Coverage
from edupulse_ml.core.sequences import SequenceBatch


@dataclass(frozen=True)
class SufficiencyPolicy:
    """A student is scored only with at least `min_weeks` instructional weeks, the last not more than `max_age_days`
    before `as_of` (15 weeks: longer than any summer), and attendance or course records in half the window.
    """

    min_weeks: int = 4
    max_age_days: int = 105
    min_coverage: float = 0.5


def coverage_of(batch: SequenceBatch) -> list[Coverage]:
    """Per example, the share of its real steps in which each modality was recorded."""
    return [
        Coverage(attendance=float(row[0]), course=float(row[1]), discipline=float(row[2]), weeks=int(weeks))
        for row, weeks in zip(coverage_shares(batch), batch.length, strict=True)
    ]


def coverage_shares(batch: SequenceBatch) -> NDArray[np.float64]:
    """[B, M] `coverage_of` without the weeks, as one array."""
    recorded = batch.mask.view(np.uint8).sum(axis=1, dtype=np.int32)
    return recorded / np.maximum(batch.length, 1)[:, None]


def has_enough(
    shares: NDArray[np.float64],
    *,
    weeks: NDArray[np.integer],
    feature_age_days: NDArray[np.integer],
    policy: SufficiencyPolicy,
) -> NDArray[np.bool_]:
    """[B] whether `what_is_missing` has nothing to say, for many students at once: `shares` [B, M], the others [B]."""
    covered = shares[:, :2].max(axis=1, initial=0.0) >= policy.min_coverage
    return covered & (weeks >= policy.min_weeks) & (feature_age_days <= policy.max_age_days)


def what_is_missing(coverage: Coverage, *, feature_age_days: int, policy: SufficiencyPolicy) -> tuple[str, ...]:
    """Sentences that say why the student cannot be scored; empty when there is enough.

    `feature_age_days` is the number of days from the end of the last step's week to `as_of`.
    """
    missing: list[str] = []
    if coverage.weeks < policy.min_weeks:
        missing.append(f"{coverage.weeks} instructional weeks of records, at least {policy.min_weeks} are needed")
    if feature_age_days > policy.max_age_days:
        missing.append(f"the last instructional week ended {feature_age_days} days before the date asked for")
    if max(coverage.attendance, coverage.course) < policy.min_coverage:
        missing.append(
            f"attendance is recorded in {coverage.attendance:.0%} and grades in {coverage.course:.0%} of the weeks, "
            f"at least {policy.min_coverage:.0%} of one is needed"
        )
    return tuple(missing)
