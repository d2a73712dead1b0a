"""Versions of graded items in terms of rows, shared by the course and the assignment features."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edupulse_ml.core.records import GradeEvents
from features.facts import Versions, versions_of
from features.ragged import Bools, Floats, Ints
from features.steps import Steps

SCORE_UNIT = 1000
"""Scores are kept in thousandths of a percentage point and points in thousandths, as integers."""


@dataclass(frozen=True)
class GradeVersions:
    """One entry per version. A row equal to the version's `end` means "never"."""

    versions: Versions
    due_row: Ints
    due_counts: Bools
    """The item falls due in the student's first step or later."""
    submitted_row: Ints
    submission_counts: Bools
    posted_row: Ints
    score_counts: Bools
    """A score is posted, in the student's first step or later."""
    handed_in_row: Ints
    is_late: Bools
    score: Floats
    points: Floats
    """Whole numbers."""

    @cached_property
    def weighted(self) -> Floats:
        """Score times points."""
        return self.score * self.points


def grade_versions(events: GradeEvents, steps: Steps) -> GradeVersions:
    """The rows at which each version's item falls due, is submitted and is scored."""
    versions = versions_of(
        steps, student=events.student, known_day=events.known_day, superseded_day=events.superseded_day
    )
    first_monday = steps.first_monday.astype(np.int32).take(versions.student)
    has_score = ~np.isnan(events.score_pct)
    posted_row = np.where(has_score, steps.at_or_after(versions.cell, events.posted_day), versions.end)
    submitted_row = steps.at_or_after(versions.cell, events.submitted_day)
    score = _thousandths(np.where(has_score, events.score_pct, np.float32(0.0)))
    due_row = steps.at_or_after(versions.cell, events.due_day)
    return GradeVersions(
        versions=versions,
        due_row=due_row,
        due_counts=(events.due_day >= first_monday) & (due_row < versions.end),
        submitted_row=submitted_row,
        submission_counts=(events.submitted_day >= first_monday) & (submitted_row < versions.end),
        posted_row=posted_row,
        score_counts=(events.posted_day >= first_monday) & (posted_row < versions.end),
        handed_in_row=np.where(score > 0, np.minimum(submitted_row, posted_row), submitted_row),
        is_late=events.submitted_day > events.due_day,
        score=score,
        points=_thousandths(np.where(np.isnan(events.points_weight), 1.0, events.points_weight)),
    )


def _thousandths(values: np.ndarray) -> Floats:
    return np.rint(values.astype(np.float64) * SCORE_UNIT)
