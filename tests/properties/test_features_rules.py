"""The point-in-time rules of the features, on random record sets."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.core.contract import FEATURE_INDEX
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import PAD, concatenate_blocks
from edupulse_ml.core.weeks import NEVER
from features.catalog import CATALOG
from features.compute import FeatureOptions, compute_features
from tests.fakes.feature_tables import assert_blocks_equal, rows_through
from tests.fakes.random_records import RandomShape, alive_on, known_by, random_records, shuffled
from tests.fakes.record_builder import WEEK_1, week

LAST_WEEK = week(45)
SHAPE = RandomShape(n_students=6)
SEEDS = st.integers(0, 2**32 - 1)
EVENTS = ("attendance", "grades", "transcript", "discipline")


def drawn(seed: int) -> RecordSet:
    return random_records(np.random.default_rng(seed), SHAPE)


def last_rows(block, monday):
    """Students and values of the rows of one week."""
    student, step = np.nonzero(block.week == monday)
    return student, {
        name: getattr(block, name)[student, step] for name in ("values", "support", "mask", "aux", "context")
    }


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, number=st.integers(1, 40))
def test_time_travel(seed, number):
    """What is computed with all later data equals what was computed when the week closed."""
    records, monday = drawn(seed), week(number)
    now = compute_features(records, through_week=LAST_WEEK)
    then = compute_features(known_by(records, monday + 6), through_week=LAST_WEEK)
    assert_blocks_equal(rows_through(now, monday), rows_through(then, monday))
    assert_blocks_equal(rows_through(now, monday), compute_features(records, through_week=monday))


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, number=st.integers(3, 40))
def test_a_row_uses_only_versions_known_and_not_superseded_at_its_cutoff(seed, number):
    records, monday = drawn(seed), week(number)
    full_student, full = last_rows(compute_features(records, through_week=monday), monday)
    alive = compute_features(alive_on(records, monday + 6), through_week=monday)
    student, rows = last_rows(alive, monday)
    np.testing.assert_array_equal(student, full_student)
    for name, values in rows.items():
        np.testing.assert_array_equal(values, full[name], err_msg=name)


@settings(max_examples=15, deadline=None)
@given(
    seed=SEEDS,
    name=st.sampled_from(EVENTS),
    picks=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 200), st.booleans()), min_size=1, max_size=12),
)
def test_corrections_and_deletions_change_nothing_before_they_are_known(seed, name, picks):
    records = drawn(seed)
    events = getattr(records, name)
    if not len(events.student):
        return
    columns = {field: getattr(events, field).copy() for field in events.__dataclass_fields__}
    extra: list[tuple[int, int]] = []
    for pick, delay, is_deleted in picks:
        row = pick % len(events.student)
        on = int(columns["known_day"][row]) + delay
        if columns["superseded_day"][row] == NEVER:
            columns["superseded_day"][row] = on
            if not is_deleted:
                extra.append((row, on))
    rows = np.array([row for row, _ in extra], dtype=np.int64)
    known = np.array([on for _, on in extra], dtype=np.int32)
    first_change = int(columns["superseded_day"][[p % len(events.student) for p, _, _ in picks]].min())
    added = {field: column[rows] for field, column in columns.items()}
    added["known_day"], added["superseded_day"] = known, np.full(len(rows), NEVER, dtype=np.int32)
    changed = {
        "attendance": ("status", lambda column: (column + 1) % 6),
        "grades": ("score_pct", lambda column: np.nan_to_num(column) / 2),
        "transcript": ("final_pct", lambda column: np.nan_to_num(column) / 2),
        "discipline": ("severity", lambda column: 1 + column % 5),
    }[name]
    added[changed[0]] = changed[1](added[changed[0]]).astype(added[changed[0]].dtype)
    corrected = replace(
        records,
        **{
            name: type(events)(
                **{field: np.concatenate((columns[field], added[field])) for field in events.__dataclass_fields__}
            )
        },
    )
    before_change = first_change - (first_change + 3) % 7 - 7
    before = compute_features(records, through_week=LAST_WEEK)
    after = compute_features(corrected, through_week=LAST_WEEK)
    assert_blocks_equal(rows_through(before, before_change), rows_through(after, before_change))


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_row_order_does_not_matter(seed):
    records = drawn(seed)
    mixed = shuffled(records, np.random.default_rng(seed + 1))
    assert_blocks_equal(
        compute_features(records, through_week=LAST_WEEK), compute_features(mixed, through_week=LAST_WEEK)
    )


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, zeros=st.booleans())
def test_a_student_alone_equals_the_same_student_in_a_batch(seed, zeros):
    records, options = drawn(seed), FeatureOptions(district_posts_zeros=zeros)
    together = compute_features(records, through_week=LAST_WEEK, options=options)
    alone = [
        compute_features(records.select([n]), through_week=LAST_WEEK, options=options)
        for n in range(records.n_students)
    ]
    assert_blocks_equal(together, concatenate_blocks(alone))


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_computing_twice_gives_the_same_and_leaves_the_records_alone(seed):
    records, untouched = drawn(seed), drawn(seed)
    first = compute_features(records, through_week=LAST_WEEK)
    assert_blocks_equal(first, compute_features(records, through_week=LAST_WEEK))
    for name in (*EVENTS, "enrollments"):
        for field in getattr(records, name).__dataclass_fields__:
            np.testing.assert_array_equal(
                getattr(getattr(records, name), field), getattr(getattr(untouched, name), field)
            )


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_values_lie_in_the_ranges_of_the_catalogue(seed):
    block = compute_features(drawn(seed), through_week=LAST_WEEK)
    for entry in CATALOG:
        column = block.values[..., FEATURE_INDEX[entry.name]]
        known = column[np.isfinite(column)]
        assert np.all(known >= entry.minimum), entry.name
        assert entry.maximum is None or np.all(known <= entry.maximum), entry.name


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_missing_is_nan_on_padding_and_counts_are_numbers_on_steps(seed):
    block = compute_features(drawn(seed), through_week=LAST_WEEK)
    is_step = block.week != PAD
    for name in ("values", "support", "aux", "context"):
        assert np.isnan(getattr(block, name)[~is_step]).all(), name
    assert not block.mask[~is_step].any()
    assert np.isfinite(block.support[is_step]).all()
    assert np.isfinite(block.aux[is_step]).all()
    assert np.all(np.diff(block.week, axis=1)[is_step[:, 1:]] >= 7)


@pytest.mark.parametrize("exit_day", [WEEK_1 + 21, NEVER])
def test_a_recorded_exit_shows_only_in_which_weeks_are_steps(exit_day):
    """Exit dates are no input: before the exit, a leaver's rows equal those of the same student who stayed."""
    records = drawn(3)
    enrollments = records.enrollments
    open_ended = replace(records, enrollments=replace(enrollments, exit_day=np.full_like(enrollments.exit_day, NEVER)))
    leaving = replace(records, enrollments=replace(enrollments, exit_day=np.full_like(enrollments.exit_day, exit_day)))
    before = week(3)
    assert_blocks_equal(
        rows_through(compute_features(leaving, through_week=LAST_WEEK), before),
        rows_through(compute_features(open_ended, through_week=LAST_WEEK), before),
    )
