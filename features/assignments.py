"""Work on time, in time and how well: features G9 to G12 and G15, from single graded items.

An item is *handed in* once it is submitted, or once a score above 0 is posted for it (work done in class has no
submission date). A posted 0 without a submission is a zero given for missing work.
"""

from dataclasses import dataclass

import numpy as np

from features.facts import Facts, StepSums, facts_of
from features.grade_versions import SCORE_UNIT, GradeVersions
from features.ragged import Bools, Floats, Ints, positions, ratio
from features.steps import Steps
from features.trends import LATEST_OF_SET, N_LAGS, recent_steps

MIN_ITEMS = 3
MIN_SCORES_FOR_SD = 4


@dataclass(frozen=True)
class AssignmentBlock:
    """Columns of shape [R]. `is_known`: an item fell due or was posted in the last 8 steps."""

    missing_rate: Floats
    late_rate: Floats
    score_mean: Floats
    score_sd: Floats
    weeks_since_submission: Floats
    items_due_4wk: Ints
    is_known: Bools


def assignment_features(grades: GradeVersions, steps: Steps) -> AssignmentBlock:
    """All columns that are made of single items."""
    items = facts_of(steps, grades.versions, row=grades.due_row, keep=grades.due_counts)
    due = items.total()
    handed_in = items.since(grades.handed_in_row, grades.versions).total().window(0, 3)
    submitted = items.since(grades.submitted_row, grades.versions)
    n_submitted = submitted.total().window(0, 3)
    n_late = submitted.of(grades.is_late).total().window(0, 3)
    due_4wk = due.window(0, 3)
    submissions = facts_of(steps, grades.versions, row=grades.submitted_row, keep=grades.submission_counts).total()
    posted = facts_of(steps, grades.versions, row=grades.posted_row, keep=grades.score_counts)
    mean, sd = _scores(posted, grades)
    return AssignmentBlock(
        missing_rate=np.where(due_4wk >= MIN_ITEMS, ratio(due_4wk - handed_in, due_4wk), np.nan),
        late_rate=np.where(n_submitted >= MIN_ITEMS, ratio(n_late, n_submitted), np.nan),
        score_mean=mean,
        score_sd=sd,
        weeks_since_submission=_weeks_since_submission(submissions, due, steps),
        items_due_4wk=due_4wk,
        is_known=(due.window(0, 7) > 0) | (posted.total().window(0, 7) > 0),
    )


def _scores(posted: Facts, grades: GradeVersions) -> tuple[Floats, Floats]:
    """Mean of the scores of 4 steps weighted by points (carried up to 4 steps), and SD of those of 8 steps."""
    scores = posted.since(np.where(grades.score > 0, grades.posted_row, grades.submitted_row), grades.versions)
    weights = scores.totals(grades.weighted, grades.points)
    sum_4wk, points_4wk = weights.window(0, 3)
    for lag in range(4, 8):
        empty = points_4wk == 0
        weighted, points = weights.lag(lag)
        sum_4wk = np.where(empty, weighted, sum_4wk)
        points_4wk = np.where(empty, points, points_4wk)
    count, total, squares = scores.totals(None, grades.score, grades.score * grades.score).window(0, 7)
    variance = ratio(count * squares - total * total, count * count)
    sd = np.sqrt(np.where(count >= MIN_SCORES_FOR_SD, variance, np.nan)) / SCORE_UNIT
    return ratio(sum_4wk, points_4wk * SCORE_UNIT), sd


def _weeks_since_submission(submissions: StepSums, due: StepSums, steps: Steps) -> Floats:
    """0 where nothing fell due since then."""
    handed_in = recent_steps(submissions.base > 0, steps.year_lags, *_late_submissions(submissions))
    since = np.where(handed_in > 0, LATEST_OF_SET.take(handed_in), np.minimum(steps.weeks_into_year + 1, N_LAGS))
    running = np.concatenate(([0], due.base.cumsum()))
    owed = running[1:] - running.take(steps.rows + 1 - since)
    lag, row, amount = due.late_by_lag(N_LAGS)
    is_since = positions(lag < since[row])
    np.add.at(owed, row[is_since], amount[is_since])
    has_items = (submissions.year_to_date() > 0) | (due.year_to_date() > 0)
    return np.where(has_items, np.where(owed > 0, since, 0), np.nan)


def _late_submissions(submissions: StepSums) -> tuple[Ints, Ints, Bools]:
    """(lag, row, is any): whether something was submitted that many steps back, where late changes matter."""
    n_rows = submissions.steps.n_rows
    lag, row, amount = submissions.late_by_lag(N_LAGS)
    key, code = np.unique(lag * n_rows + row, return_inverse=True)
    lag, row = np.divmod(key, n_rows)
    count = submissions.base[row - lag] + np.bincount(code, weights=amount, minlength=len(key))
    return lag, row, count > 0
