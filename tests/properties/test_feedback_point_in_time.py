"""Feedback that becomes known after the training date changes nothing that is learned from."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.core.feedback import OUTCOME_WORDS, Interventions, ReportedOutcomes, no_interventions, nothing_reported
from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.core.records import ExitEvents
from edupulse_ml.core.sequences import PAD, windows_ending_at
from edupulse_ml.core.tables import EXIT_CODES
from edupulse_ml.core.weeks import NEVER, day_number
from edupulse_ml.models.protocol import TrainingData
from edupulse_ml.models.rivals.logistic import Logistic
from jobs.experiment import Experiment, History, set_up
from tests.fakes import judged_history
from tests.fakes.stores import empty_block

YEARS, WEEKS, STUDENTS = (2021, 2022, 2023), 6, 40
MONDAYS = [day_number(date(year, 9, 6)) + offset for year, offset in zip(YEARS, (0, -1, -2), strict=True)]
KNOWN_DAY = day_number(date(2024, 10, 2))
TASK = risk_task(180)
PARTS = ("train", "calibration", "held_out")


def three_years() -> History:
    """Forty students through the first weeks of three school years; every fifth has left in the first one."""
    block = empty_block(STUDENTS, WEEKS * len(YEARS))
    rng = np.random.default_rng(0)
    block.week[:] = np.concatenate([monday + 7 * np.arange(WEEKS) for monday in MONDAYS])
    block.school_year[:] = np.repeat(YEARS, WEEKS)
    block.values[:] = rng.normal(size=block.values.shape)
    left = np.arange(STUDENTS) % 5 == 0
    gone = MONDAYS[0] + 20
    block.week[left, 3:] = -1
    exits = ExitEvents(
        student=np.arange(STUDENTS, dtype=np.int32),
        entry_day=np.full(STUDENTS, MONDAYS[0], np.int32),
        exit_day=np.where(left, gone + 1, NEVER).astype(np.int32),
        exit_code=np.where(left, EXIT_CODES.index("dropout"), -1).astype(np.int8),
        last_attended_day=np.where(left, gone, NEVER).astype(np.int32),
        known_day=np.where(left, gone + 2, MONDAYS[0]).astype(np.int32),
        superseded_day=np.full(STUDENTS, NEVER, np.int32),
    )
    return History(block, exits, tuple(f"p{number}" for number in range(STUDENTS)), KNOWN_DAY)


HISTORY = three_years()


def experiment(history: History) -> Experiment:
    return set_up(history, test_year=YEARS[-1], tasks=[TASK], window_weeks=WEEKS, seed=0)


PLAIN = experiment(HISTORY)
TRAINED_ON = PLAIN.split.label_cutoff_day
days = st.integers(MONDAYS[0], KNOWN_DAY)
entries = st.lists(
    st.tuples(st.integers(0, STUDENTS - 1), st.integers(0, len(OUTCOME_WORDS) - 1), days, days, st.integers(1, 400)),
    max_size=25,
)


def reported(rows, *, known_from: int) -> ReportedOutcomes:
    if not rows:
        return nothing_reported()
    student, word, day, known, lasts = np.asarray(rows, dtype=np.int32).T
    known = np.maximum(known, known_from).astype(np.int32)
    return ReportedOutcomes(student, word.astype(np.int8), day, known, known + lasts)


def supported(rows, *, known_from: int) -> Interventions:
    if not rows:
        return no_interventions()
    student, word, day, known, lasts = np.asarray(rows, dtype=np.int32).T
    known = np.maximum(known, known_from).astype(np.int32)
    end = np.where(word == 0, NEVER, day + lasts).astype(np.int32)
    return Interventions(student, day, end, known, np.full(len(rows), NEVER, np.int32))


def same(first: TrainingData, second: TrainingData) -> bool:
    return (
        np.array_equal(first.eligible, second.eligible)
        and np.array_equal(first.outcomes.event_day, second.outcomes.event_day)
        and np.array_equal(first.outcomes.followed_until, second.outcomes.followed_until)
        and first.outcomes.as_of_day == second.outcomes.as_of_day
    )


@settings(max_examples=40, deadline=None)
@given(reports=entries, support=entries)
def test_what_is_known_after_the_training_date_changes_no_cohort_that_is_learned_from(reports, support) -> None:
    later = replace(
        HISTORY,
        reported=reported(reports, known_from=TRAINED_ON + 1),
        interventions=supported(support, known_from=TRAINED_ON + 1),
    )
    found = experiment(later)
    assert all(same(getattr(found, part), getattr(PLAIN, part)) for part in PARTS)


@settings(max_examples=15, deadline=None)
@given(reports=entries, support=entries, seed=st.integers(0, 1000))
def test_the_order_in_which_feedback_was_given_plays_no_part(reports, support, seed) -> None:
    order = np.random.default_rng(seed)
    shuffled = [[rows[at] for at in order.permutation(len(rows))] for rows in (reports, support)]
    first, second = (
        experiment(
            replace(HISTORY, reported=reported(said, known_from=0), interventions=supported(helped, known_from=0))
        )
        for said, helped in ((reports, support), shuffled)
    )
    assert all(same(getattr(first, part), getattr(second, part)) for part in (*PARTS, "test", "returning"))


@settings(max_examples=40, deadline=None)
@given(support=entries)
def test_support_only_ever_leaves_out_and_never_touches_the_test(support) -> None:
    found = experiment(replace(HISTORY, interventions=supported(support, known_from=0)))
    for part in PARTS:
        assert not (getattr(found, part).eligible & ~getattr(PLAIN, part).eligible).any()
    assert same(found.test, PLAIN.test)


@pytest.mark.parametrize(("known_day", "is_same"), [(TRAINED_ON, False), (TRAINED_ON + 1, True)])
def test_the_property_can_fail(known_day: int, is_same: bool) -> None:
    of_all = [(number, 0, MONDAYS[0] + 30, 0, 4000) for number in range(STUDENTS)]
    for changed in (
        replace(HISTORY, reported=reported(of_all, known_from=known_day)),
        replace(HISTORY, interventions=supported(of_all, known_from=known_day)),
    ):
        found = experiment(changed)
        assert all(same(getattr(found, part), getattr(PLAIN, part)) for part in PARTS) == is_same


@pytest.mark.parametrize(("known_after", "is_same"), [(0, False), (1, True)])
def test_a_model_trained_with_later_feedback_is_the_model_trained_without(known_after: int, is_same: bool) -> None:
    history = judged_history.history()
    first = int(history.block.week[history.block.week != PAD].min())
    who = np.arange(0, history.block.n_students, 3, dtype=np.int32)
    known = np.full(len(who), history.known_day + known_after, np.int32)
    forever = np.full(len(who), NEVER, np.int32)
    day = np.full(len(who), first + 40, np.int32)
    changed = replace(
        history,
        reported=ReportedOutcomes(who, np.zeros(len(who), np.int8), day, known, forever),
        interventions=Interventions(who, day, forever, known, forever),
    )
    scores = [_scores(one) for one in (history, changed)]
    assert np.array_equal(*scores) == is_same


def _scores(history: History) -> np.ndarray:
    found = set_up(history, test_year=None, tasks=[TASK], window_weeks=4, seed=0)
    model = Logistic()
    model.fit(found.train, found.calibration, tasks=[TASK], window_weeks=4, seed=0, progress=lambda _: None)
    student = np.arange(200, dtype=np.int32)
    batch = windows_ending_at(history.block, student=student, step=np.zeros(200, np.int32), window_weeks=4)
    return model.predict(batch)[TASK.name]
