"""Fast metrics against slow, plain ones; splits and landmarks against their promises."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.records import ExitEvents
from edupulse_ml.core.sequences import PAD, FeatureBlock
from edupulse_ml.core.tables import EXIT_CODES
from edupulse_ml.core.weeks import NEVER, day_from_number
from edupulse_ml.evaluation import metrics
from edupulse_ml.evaluation.bootstrap import BOOTSTRAPPED, WeightedRanking, cluster_weights
from edupulse_ml.evaluation.outcomes import CODES_SETTLED_ON_COUNT_DAY, next_count_day, outcomes_from_exits
from edupulse_ml.evaluation.splits import (
    monthly_landmarks,
    person_fractions,
    split_by_cohort,
    split_by_person,
    split_by_school_year,
)

scored_rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=60)


def arrays(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    label, level = (np.asarray(column) for column in zip(*rows, strict=True))
    return label.astype(np.int8), level / 6.0


def slow_events_in_top(label: np.ndarray, score: np.ndarray, places: int) -> float:
    """Walks down the levels and shares the last one out."""
    caught, left = 0.0, min(places, len(label))
    for level in sorted(set(score.tolist()), reverse=True):
        members = [int(value) for value, s in zip(label, score, strict=True) if s == level]
        taken = min(left, len(members))
        caught += taken * sum(members) / len(members)
        left -= taken
    return caught


@settings(deadline=None)
@given(scored_rows, st.sampled_from([0.05, 0.1, 0.33, 1.0]))
def test_the_top_of_the_list(rows: list[tuple[int, int]], share: float) -> None:
    label, score = arrays(rows)
    places = max(1, math.ceil(round(share * len(rows), 9)))
    assert metrics.caught_in_top(label, score, share=share) == pytest.approx(slow_events_in_top(label, score, places))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40)), min_size=1, max_size=80))
def test_calibration_error_by_the_slow_way(rows: list[tuple[int, int]]) -> None:
    label, score = (np.asarray(column) for column in zip(*rows, strict=True))
    score = score / 40.0
    ranked = sorted(score.tolist())
    by_bin: dict[int, list[tuple[float, int]]] = {}
    for value, s in zip(label, score, strict=True):
        below, equal = sum(r < s for r in ranked), sum(r == s for r in ranked)
        by_bin.setdefault(min(14, int(15 * (below + equal / 2) / len(ranked))), []).append((s, int(value)))
    slow = sum(abs(sum(s - y for s, y in members)) for members in by_bin.values()) / len(ranked)
    assert metrics.expected_calibration_error(label, score) == pytest.approx(slow)


@settings(deadline=None)
@given(scored_rows, st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(rows: list[tuple[int, int]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = metrics.measure(*arrays(rows)), metrics.measure(*arrays(shuffled))
    for metric in metrics.METRICS:
        assert first[metric].value == pytest.approx(second[metric].value, nan_ok=True, rel=1e-5, abs=1e-7)


@settings(deadline=None)
@given(scored_rows, st.data())
def test_weighted_metrics_equal_metrics_of_repeated_rows(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    label, score = arrays(rows)
    weight = np.asarray(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    again, repeated = np.repeat(label, weight), np.repeat(score, weight)
    if not again.any() or again.all():
        return
    ranking = WeightedRanking.of(label, score, np.arange(len(rows)))
    fast = dict(zip(BOOTSTRAPPED, ranking.metrics(weight[:, None].astype(np.float32))[:, 0], strict=True))
    assert fast["auc"] == pytest.approx(roc_auc_score(again, repeated))
    assert fast["average_precision"] == pytest.approx(average_precision_score(again, repeated))
    slow = metrics.measure(again, repeated)
    for metric in BOOTSTRAPPED[2:]:
        assert fast[metric] == pytest.approx(slow[metric].value, rel=1e-5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 5)), min_size=1, max_size=40))
def test_the_rows_of_a_student_are_drawn_together(rows: list[tuple[int, int, int]]) -> None:
    label, score = arrays([row[:2] for row in rows])
    cluster = np.unique([row[2] for row in rows], return_inverse=True)[1]
    by_student, by_row = (
        WeightedRanking.of(label, score, cluster),
        WeightedRanking.of(label, score, np.arange(len(rows))),
    )
    for weight in cluster_weights(int(cluster.max()) + 1, replicates=9, seed=1):
        assert (weight.sum(axis=0) == len(weight)).all()
        np.testing.assert_allclose(by_student.metrics(weight), by_row.metrics(weight[cluster]), rtol=1e-5)


enrolments = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(19600, 20700),
        st.one_of(st.none(), st.integers(1, 500)),
        st.sampled_from(EXIT_CODES),
        st.integers(19600, 20700),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(enrolments, st.integers(19600, 20900))
def test_outcomes_by_the_slow_way(rows: list[tuple[int, int, int | None, str, int]], as_of: int) -> None:
    columns = [np.asarray(column) for column in zip(*[(r[0], r[1], r[4]) for r in rows], strict=True)]
    exit_day = np.asarray([NEVER if r[2] is None else r[1] + r[2] for r in rows], np.int32)
    code = np.asarray([-1 if r[2] is None else EXIT_CODES.index(r[3]) for r in rows], np.int8)
    never = np.full(len(rows), NEVER, np.int32)
    events = ExitEvents(
        columns[0].astype(np.int32), columns[1].astype(np.int32), exit_day, code, never,
        columns[2].astype(np.int32), never,
    )  # fmt: skip
    found = outcomes_from_exits(events, as_of_day=as_of, n_students=3)
    for student in range(3):
        known = [(r, int(e)) for r, e in zip(rows, exit_day, strict=True) if r[0] == student and r[4] <= as_of]
        onsets = []
        for row, left in known:
            if left == NEVER:
                continue
            settled = int(next_count_day(np.asarray([left], np.int32))[0])
            counts = row[3] == "dropout" or (row[3] in CODES_SETTLED_ON_COUNT_DAY and settled <= as_of)
            if counts and not any(other[1] <= settled and later > left for other, later in known):
                onsets.append(left - 1)
        followed = max((as_of if left == NEVER else min(left - 1, as_of) for _, left in known), default=-NEVER)
        assert found.event_day[student] == min(onsets, default=NEVER)
        assert found.followed_until[student] == (min(onsets) if onsets else followed)


def block_of_years(years: list[list[int]]) -> FeatureBlock:
    """One step per named school year and student, on the first Monday after its 1 September or so."""
    steps = max(len(row) for row in years)
    year = np.full((len(years), steps), PAD, np.int32)
    for student, row in enumerate(years):
        year[student, : len(row)] = row
    week = np.where(year == PAD, PAD, (19600 + 3 + (year - 2020) * 364) // 7 * 7 + 4).astype(np.int32)
    number = np.zeros((*year.shape, 1), np.float32)
    return FeatureBlock(
        week=week, values=number, support=number, mask=number > 0, aux=number, context=number, school=year,
        grade_level=year, school_year=year,
    )  # fmt: skip


people = st.lists(
    st.tuples(st.integers(0, 20), st.lists(st.integers(2020, 2024), min_size=1, max_size=5, unique=True)),
    min_size=8,
    max_size=40,
)


@settings(deadline=None)
@given(people, st.integers(0, 3))
def test_nobody_is_in_two_splits_and_time_runs_forward(rows: list[tuple[int, list[int]]], seed: int) -> None:
    block = block_of_years([sorted(years) for _, years in rows])
    ids = [f"p{person}" for person, _ in rows]
    try:
        split = split_by_school_year(block, ids, test_year=2023, seed=seed)
    except InvalidInputError:
        return
    assert (block.school_year[split.train] <= 2021).all()
    assert (block.school_year[split.calibrate] == 2022).all()
    assert (block.school_year[split.test] == 2023).all()
    members = [set(np.asarray(ids)[part.any(axis=1)]) for part in (split.train, split.calibrate, split.test)]
    assert not (members[0] & members[1] | members[0] & members[2] | members[1] & members[2])
    returning = set(np.asarray(ids)[split.returning.any(axis=1)])
    assert not returning & members[2]
    everyone = np.asarray(ids)[(block.school_year == 2023).any(axis=1)]
    assert set(everyone) == members[2] | returning
    assert split.label_cutoff_day == block.week[block.school_year == 2023].min() + 6


def test_shares_are_kept_and_newcomers_go_where_they_can() -> None:
    everywhere = [[2021, 2022, 2023]] * 4000
    from_2022, only_last = [[2022, 2023]] * 4000, [[2023]] * 10
    block = block_of_years(everywhere + from_2022 + only_last)
    split = split_by_school_year(block, [str(i) for i in range(8010)], test_year=2023, seed=3)
    parts = [part.any(axis=1) for part in (split.train, split.calibrate, split.test)]
    assert [part[:4000].mean() for part in parts] == pytest.approx([0.6, 0.15, 0.25], abs=0.03)
    assert [part[4000:8000].mean() for part in parts] == pytest.approx([0, 0.375, 0.625], abs=0.03)
    assert parts[2][8000:].all()


def test_whether_somebody_is_seen_again_does_not_choose_the_split() -> None:
    stays, leaves = [[2021, 2022, 2023]] * 4000, [[2021]] * 4000
    block = block_of_years(stays + leaves)
    split = split_by_school_year(block, [str(i) for i in range(8000)], test_year=2023, seed=3)
    for part, share in ((split.train, 0.6), (split.held_out, 0.15)):
        learned = part.any(axis=1)
        assert learned[:4000].mean() == pytest.approx(share, abs=0.03)
        assert learned[4000:].mean() == pytest.approx(share, abs=0.03)


def test_a_split_by_person_keeps_people_apart_in_the_same_years() -> None:
    block = block_of_years([[2021, 2022]] * 3000)
    ids = [f"p{i // 2}" for i in range(3000)]
    split = split_by_person(block, ids, known_day=30_000, seed=1)
    members = [set(np.asarray(ids)[part.any(axis=1)]) for part in (split.train, split.calibrate, split.test)]
    assert [len(people) / 1500 for people in members] == pytest.approx([0.6, 0.15, 0.25], abs=0.04)
    assert len(set.union(*members)) == sum(len(people) for people in members) == 1500


def test_the_hash_knows_people_not_positions() -> None:
    assert person_fractions(["a", "b", "a"], seed=1)[0] == person_fractions(["c", "a"], seed=1)[1]
    assert person_fractions(["a"], seed=1)[0] != person_fractions(["a"], seed=2)[0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["B", "J", "T"])), min_size=6, max_size=60))
def test_people_of_the_test_cohort_are_not_learned_from(rows: list[tuple[int, str]]) -> None:
    rows = [*rows, (90, "B"), (91, "J"), (92, "T")]
    block = block_of_years([[2020]] * len(rows))
    ids, cohort = [f"p{person}" for person, _ in rows], [name for _, name in rows]
    split = split_by_cohort(block, cohort, ids, train=["B", "J"], test=["T"], calibration_share=0.3, seed=0)
    persons = np.asarray(ids)
    learned, calibrated, tested = (
        set(persons[part.any(axis=1)]) for part in (split.train, split.calibrate, split.test)
    )
    assert not (learned & tested | calibrated & tested | learned & calibrated)
    assert tested == {person for person, name in zip(ids, cohort, strict=True) if name == "T"}
    assert {cohort[i] for i in np.flatnonzero(split.calibrate.any(axis=1))} <= {"J"}


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=30, max_size=30))
def test_one_landmark_per_student_and_month(eligible: list[bool]) -> None:
    block = block_of_years([[2020] * 30])
    week = (block.week[:, :1] + np.arange(30) * 7).astype(np.int32)
    block = FeatureBlock(**{**block.__dict__, "week": week})
    keep = np.asarray([eligible])
    chosen = monthly_landmarks(block, keep)
    assert not (chosen & ~keep).any()

    def months(mask: np.ndarray) -> list[tuple[int, int]]:
        return [((d := day_from_number(int(m) + 6)).year, d.month) for m in week[mask]]

    picked = months(chosen)
    assert len(set(picked)) == len(picked)
    assert set(picked) == set(months(keep))
    assert all(a < b for a, b in pairwise(picked))
