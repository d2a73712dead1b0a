"""Features of closed terms: G2, G3's earlier term, G13 and G14, from transcript rows.

What is known of a student's transcript changes on few steps. These rows are *epochs*; everything is computed once
per epoch and holds until the student's next one. A term is closed for a student once its result is posted and known.
"""

from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.records import TranscriptEvents
from features.cohorts import Cohorts, expected_credits
from features.courses import GRADE_POINT_UNIT, grade_points
from features.facts import facts_of, versions_of
from features.options import FeatureOptions
from features.ragged import Bools, Floats, Ints, dense_codes, expand_ranges, positions, ratio
from features.school_weeks import Terms
from features.steps import Steps

CREDIT_UNIT = 1000
_PERCENT_UNIT = 1000
_FIRST_HIGH_SCHOOL_GRADE, _LAST_HIGH_SCHOOL_GRADE = 9, 12


@dataclass(frozen=True)
class TranscriptBlock:
    """Columns of shape [R]. `is_known`: a result was posted and became known in the last 8 steps; `has_results`: any
    is known.
    """

    cumulative_gpa: Floats
    prior_term_gpa: Floats
    credits_ratio: Floats
    core_f_count: Floats
    is_known: Bools
    has_results: Bools


def transcript_features(
    events: TranscriptEvents, steps: Steps, *, gpa_term: Ints, options: FeatureOptions
) -> TranscriptBlock:
    """All columns that are made of transcripts. `gpa_term` [R] is the term that the current GPA is of."""
    cohorts = Cohorts(steps)
    results = _results(events, steps, cohorts)
    terms = steps.weeks.terms
    of_row = results.n_before[1:] - 1
    exists = (of_row >= 0) & (np.append(results.epoch_row, 0).take(of_row) >= steps.first_row)
    at = np.where(exists, of_row, len(results.epoch_row))
    gpa = _grade_point_sums(events, results, options)
    counted = _counted(events, results, terms, cohorts, steps)
    earned, n_counted, core_f = _counted_sums(events, results, counted, options)
    has_history = results.sums(counted.is_history.astype(np.int64)).take(at) > 0
    in_high_school = (steps.at.grade_level >= _FIRST_HIGH_SCHOOL_GRADE) & (
        steps.at.grade_level <= _LAST_HIGH_SCHOOL_GRADE
    )
    expected = expected_credits(steps, cohorts, terms, has_history=has_history, options=options)
    earned_ratio = ratio(earned.take(at) / CREDIT_UNIT, expected)
    return TranscriptBlock(
        cumulative_gpa=ratio(results.sums(gpa.points).take(at), results.sums(gpa.credits).take(at) * GRADE_POINT_UNIT),
        prior_term_gpa=_prior_term_gpa(events, results, gpa, terms, at, gpa_term),
        credits_ratio=np.where(in_high_school & (n_counted.take(at) > 0), earned_ratio, np.nan),
        core_f_count=core_f.take(at).astype(np.float64),
        is_known=_recently_posted(events, steps),
        has_results=results.sums(np.ones(len(results.version), dtype=np.int64)).take(at) > 0,
    )


@dataclass(frozen=True)
class _Results:
    """Pairs (transcript version, epoch at which it counts), and the row of each epoch, rising."""

    epoch_row: Ints
    n_before: Ints
    """[R + 1] number of epochs in the rows before each row."""
    version: Ints
    epoch: Ints

    def sums(self, amount: Ints) -> Ints:
        """Sum per epoch of an amount per pair, followed by a 0 for "no epoch"."""
        total = np.bincount(self.epoch, weights=amount, minlength=len(self.epoch_row) + 1)
        return total.astype(np.int64)


def _results(events: TranscriptEvents, steps: Steps, cohorts: Cohorts) -> _Results:
    versions = versions_of(
        steps, student=events.student, known_day=events.known_day, superseded_day=events.superseded_day
    )
    start = np.maximum(versions.known, steps.at_or_after(versions.cell, events.posted_day))
    counts = positions(start < versions.stop)
    start, stop, end = start[counts], versions.stop[counts], versions.end[counts]
    has_results = np.zeros(steps.n_students, dtype=np.bool_)
    has_results[versions.student[counts]] = True
    changes = cohorts.changes[has_results[steps.at.student[cohorts.changes]]]
    is_epoch = np.zeros(steps.n_rows, dtype=np.bool_)
    for rows in (start, stop[stop < end], changes):
        is_epoch[rows] = True
    n_before = np.append(0, is_epoch.astype(np.int64).cumsum())
    pair, epoch = expand_ranges(n_before[start], n_before[stop])
    return _Results(positions(is_epoch), n_before, counts[pair], epoch)


@dataclass(frozen=True)
class _GradePointSums:
    """Per pair: grade points times credits attempted, and the credits; 0 for results without a percentage."""

    points: Ints
    credits: Ints


def _grade_point_sums(events: TranscriptEvents, results: _Results, options: FeatureOptions) -> _GradePointSums:
    has_mark = ~np.isnan(events.final_pct)
    percent = np.rint(np.where(has_mark, events.final_pct, 0.0).astype(np.float64) * _PERCENT_UNIT)
    credit = np.where(has_mark, np.rint(events.credits_attempted.astype(np.float64) * CREDIT_UNIT), 0).astype(np.int64)
    points = grade_points(percent.astype(np.int64), unit=_PERCENT_UNIT, options=options)
    return _GradePointSums((points * credit).take(results.version), credit.take(results.version))


@dataclass(frozen=True)
class _Counted:
    """Per pair: it belongs to the grades that credits and Fs are counted over, and it is from before the records."""

    counts: Bools
    is_history: Bools


def _counted(events: TranscriptEvents, results: _Results, terms: Terms, cohorts: Cohorts, steps: Steps) -> _Counted:
    term = events.term.take(results.version).astype(np.int64)
    n_terms = int(term.max(initial=0)) + 1
    year_of_term, last_day = terms.year_of_term(at_least=n_terms), terms.last_day_of_term(at_least=n_terms)
    row = results.epoch_row.take(results.epoch)
    in_calendar = year_of_term.take(term) >= 0
    since = cohorts.counted_since.take(row)
    counts = np.where(in_calendar, year_of_term.take(term) >= since, since <= cohorts.first_year.take(row))
    before = ~in_calendar | (last_day.take(term) < steps.first_monday[steps.at.student.take(row)])
    return _Counted(counts, counts & before)


def _counted_sums(
    events: TranscriptEvents, results: _Results, counted: _Counted, options: FeatureOptions
) -> tuple[Ints, Ints, Ints]:
    """Per epoch: credits earned (in `1 / CREDIT_UNIT`), number of results, number of Fs in core courses."""
    earned = np.rint(events.credits_earned.astype(np.float64) * CREDIT_UNIT).astype(np.int64)
    is_core_f = events.is_core & (events.final_pct < options.passing_pct)
    chosen = counted.counts.astype(np.int64)
    return (
        results.sums(earned.take(results.version) * chosen),
        results.sums(chosen),
        results.sums(is_core_f.take(results.version) * chosen),
    )


def _prior_term_gpa(
    events: TranscriptEvents, results: _Results, gpa: _GradePointSums, terms: Terms, at: Ints, gpa_term: Ints
) -> Floats:
    """GPA of the last closed term other than `gpa_term`. The last term is the one posted last; of several, the one
    that ends last.
    """
    marked = positions(gpa.credits > 0)
    version = results.version.take(marked)
    term = events.term[version].astype(np.int64)
    last_day = terms.last_day_of_term(at_least=int(term.max(initial=0)) + 1)
    by_end = last_day.argsort(kind="stable")
    rank = by_end.argsort()
    n_terms, n_epochs = len(last_day), len(results.epoch_row)
    code, key = dense_codes(results.epoch.take(marked) * n_terms + rank.take(term), space=n_epochs * n_terms)
    points = np.bincount(code, weights=gpa.points.take(marked), minlength=len(key))
    credit = np.bincount(code, weights=gpa.credits.take(marked), minlength=len(key))
    posted = np.full(len(key), -1, dtype=np.int64)
    np.maximum.at(posted, code, events.posted_day.take(version))
    epoch, ended = np.divmod(key, n_terms)
    mean = ratio(points, credit * GRADE_POINT_UNIT)
    place = posted * n_terms + ended
    last = _last_in_each(place, epoch, n_epochs=n_epochs)
    others = positions(place != last.take(epoch))
    one_before = _last_in_each(place[others], epoch[others], n_epochs=n_epochs)
    mean_of_last, mean_before, last_term = (
        np.full(n_epochs + 1, np.nan),
        np.full(n_epochs + 1, np.nan),
        np.full(n_epochs + 1, -1),
    )
    is_last, is_before = place == last.take(epoch), place == one_before.take(epoch)
    mean_of_last[epoch[is_last]] = mean[is_last]
    mean_before[epoch[is_before]] = mean[is_before]
    last_term[epoch[is_last]] = by_end[ended[is_last]]
    return np.where(last_term.take(at) == gpa_term, mean_before.take(at), mean_of_last.take(at))


def _last_in_each(place: Ints, epoch: Ints, *, n_epochs: int) -> Ints:
    last = np.full(n_epochs, -1, dtype=np.int64)
    np.maximum.at(last, epoch, place)
    return last


def _recently_posted(events: TranscriptEvents, steps: Steps) -> Bools:
    versions = versions_of(
        steps, student=events.student, known_day=events.known_day, superseded_day=events.superseded_day
    )
    effective = np.maximum(events.posted_day, events.known_day)
    row = steps.at_or_after(versions.cell, effective)
    keep = steps.begins_before(versions.student, effective) & (row < versions.end)
    return facts_of(steps, versions, row=row, keep=keep).total().window(0, 7) > 0
