"""Decision curve, lists of a fixed length, stability and fairness against slow, plain ways."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.evaluation.audit_groups import audit_families
from edupulse_ml.evaluation.bootstrap import cluster_weights
from edupulse_ml.evaluation.counselor_slots import ListedRows, capacity_figures
from edupulse_ml.evaluation.decision_curve import THRESHOLDS, decision_curve, net_benefit
from edupulse_ml.evaluation.fairness_rates import AuditedScores, Draws, measure_family
from edupulse_ml.evaluation.metrics import caught_in_top
from edupulse_ml.evaluation.stability import WeeklyLists, list_stability, weekly_lists

rows_of_students = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 40), st.integers(0, 30)), min_size=30, max_size=120
)


def columns(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    label, level, student = (np.asarray(column) for column in zip(*rows, strict=True))
    return label.astype(np.int8), level / 100.0, student.astype(np.int32)


def slow_net_benefit(label: np.ndarray, score: np.ndarray, threshold: float) -> float:
    gain = 0.0
    for left, risk in zip(label.tolist(), score.tolist(), strict=True):
        if risk >= threshold:
            gain += 1.0 if left else -threshold / (1.0 - threshold)
    return gain / len(label)


@settings(deadline=None, max_examples=40)
@given(rows_of_students)
def test_net_benefit_row_by_row(rows: list[tuple[int, int, int]]) -> None:
    label, score, student = columns(rows)
    if len(np.unique(student)) < 10:
        return
    rule = (np.asarray(student) % 3 == 0).astype(float)
    curve = decision_curve(
        label, {"gru": score, "rule": rule}, student, task="t", champion="gru", replicates=20, seed=0
    )
    for at, threshold in enumerate(THRESHOLDS):
        for name, given_score in (("gru", score), ("rule", rule)):
            entry = curve.strategy(name)
            assert entry is not None
            assert entry.value[at] == pytest.approx(slow_net_benefit(label, given_score, threshold))
            assert entry.value[at] == pytest.approx(net_benefit(label, given_score >= threshold, threshold=threshold))
        everybody, nobody = curve.strategy("treat_all"), curve.strategy("treat_none")
        assert everybody is not None
        assert nobody is not None
        base = label.mean()
        assert everybody.value[at] == pytest.approx(base - (1 - base) * threshold / (1 - threshold))
        assert nobody.value[at] == 0
        assert everybody.champion_minus[at] == pytest.approx(
            slow_net_benefit(label, score, threshold) - everybody.value[at]
        )


def test_a_resampled_curve_is_the_curve_of_the_drawn_students() -> None:
    rng = np.random.default_rng(0)
    label, score, student = (rng.random(200) < 0.2).astype(np.int8), rng.random(200) * 0.4, np.arange(200) // 4
    curve = decision_curve(label, {"gru": score}, student, task="t", champion="gru", replicates=30, seed=5)
    weight = np.concatenate(list(cluster_weights(50, replicates=30, seed=5)), axis=1)
    slow = []
    for draw in weight.T:
        again = np.repeat(np.arange(200), draw[student].astype(int))
        slow.append(slow_net_benefit(label[again], score[again], THRESHOLDS[3]))
    entry = curve.strategy("gru")
    assert entry is not None
    assert (entry.low[3], entry.high[3]) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
    assert not any(entry.champion_minus)


def test_a_perfect_score_beats_everything_at_every_threshold() -> None:
    label = (np.arange(100) % 5 == 0).astype(np.int8)
    scores = {"gru": label.astype(float), "rule": (np.arange(100) % 4 == 0).astype(float)}
    curve = decision_curve(label, scores, np.arange(100), task="t", champion="gru", replicates=20, seed=0)
    assert [curve.beats(name) for name in ("treat_all", "treat_none", "rule", "none such")] == [True, True, True, None]


def test_of_few_students_no_curve_is_told() -> None:
    curve = decision_curve(
        np.ones(50, np.int8), {"gru": np.ones(50)}, np.arange(50) // 10, task="t", champion="gru", replicates=5, seed=0
    )
    assert curve.strategies == ()
    assert curve.reason


@settings(deadline=None, max_examples=40)
@given(rows_of_students, st.integers(1, 4))
def test_lists_are_drawn_up_at_each_landmark(rows: list[tuple[int, int, int]], n_landmarks: int) -> None:
    label, score, student = columns(rows)
    student = np.unique(student, return_inverse=True)[1]
    landmark = np.arange(len(label)) % n_landmarks
    if len(np.unique(student)) < 10 or not label.any():
        return
    found = capacity_figures(
        ListedRows(label, student, landmark), {"gru": score}, task="t", slots=(2, 4), replicates=10, seed=0
    )
    lists = [landmark == at for at in range(n_landmarks)]
    for entry in found:
        places = [entry.slots or max(1, math.ceil(round((entry.share or 0) * own.sum(), 9))) for own in lists]
        caught = sum(
            caught_in_top(label[own], score[own], share=n / own.sum()) for own, n in zip(lists, places, strict=True)
        )
        assert entry.precision.value == pytest.approx(caught / sum(places), rel=1e-5)
        assert entry.recall.value == pytest.approx(caught / label.sum(), rel=1e-5)


def test_slots_of_the_district_are_shared_with_those_who_are_not_judged() -> None:
    label = (np.arange(100) < 30).astype(np.int8)
    rows = ListedRows(label, np.arange(100), np.zeros(100, np.intp))
    score = np.linspace(1, 0, 100)
    whole, part = (
        capacity_figures(rows, {"gru": score}, task="t", slots=(40,), judged_share=share, replicates=5, seed=0)[-1]
        for share in (1.0, 0.25)
    )
    assert (whole.precision.value, whole.recall.value) == pytest.approx((30 / 40, 1.0))
    assert (part.precision.value, part.recall.value) == pytest.approx((1.0, 10 / 30))
    assert part.flagged_per_leaver == pytest.approx(1.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(11, 30), st.integers(2, 5), st.sampled_from([0.1, 0.3]))
def test_jaccard_of_sets(seed: int, n: int, weeks: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    student, week = (grid.ravel() for grid in np.meshgrid(np.arange(n), np.arange(weeks) * 7))
    keep = rng.random(len(student)) < 0.95
    lists = WeeklyLists(student[keep].astype(np.int32), week[keep].astype(np.int32), rng.integers(0, 9, keep.sum()) / 9)
    found = list_stability(lists, model="gru", task="t", share=share, replicates=5, seed=seed)
    flagged = weekly_lists(lists, share=share, seed=seed)
    expected = []
    for first in np.unique(lists.cutoff_day)[:-1]:
        a, b = ({*lists.student[lists.cutoff_day == day].tolist()} for day in (first, first + 7))
        if len(a & b) < 10:
            continue
        on_a, on_b = (
            {*lists.student[(lists.cutoff_day == day) & flagged].tolist()} & a & b for day in (first, first + 7)
        )
        if on_a | on_b:
            expected.append(len(on_a & on_b) / len(on_a | on_b))
    if expected:
        assert found.jaccard.value == pytest.approx(np.mean(expected))


def test_a_list_that_never_changes_and_one_that_always_does() -> None:
    student, week = (grid.ravel().astype(np.int32) for grid in np.meshgrid(np.arange(20), np.arange(6) * 7))
    fixed = WeeklyLists(student, week, np.full(len(student), 0.3))
    steady = list_stability(fixed, model="m", task="t", share=0.2, replicates=5, seed=1)
    assert steady.jaccard.value == 1.0
    assert steady.rank_autocorrelation.reason
    turning = WeeklyLists(student, week, np.where(week // 7 % 2 == 0, student, 19 - student) / 20)
    restless = list_stability(turning, model="m", task="t", share=0.2, replicates=5, seed=1)
    assert restless.jaccard.value == 0.0
    assert restless.rank_autocorrelation.value == pytest.approx(-1.0)
    assert restless.n_pairs == 5


def test_lists_a_summer_apart_are_not_compared() -> None:
    student = np.tile(np.arange(20), 2).astype(np.int32)
    week = np.repeat([0, 70], 20).astype(np.int32)
    found = list_stability(
        WeeklyLists(student, week, student / 20), model="m", task="t", share=0.2, replicates=5, seed=1
    )
    assert (found.n_pairs, found.jaccard.value) == (0, None)


def audited(seed: int, *, n: int = 600) -> tuple[AuditedScores, dict[str, list[str | None]]]:
    rng = np.random.default_rng(seed)
    student = np.arange(n) // 2
    sex = np.asarray(["f", "m"])[student % 2]
    race = np.asarray(["a", "b", "c"])[np.minimum(student % 5, 2)]
    label = (rng.random(n) < 0.35).astype(np.int8)
    score = np.clip(0.3 + 0.2 * label + 0.2 * rng.normal(size=n), 0.01, 0.99)
    scores = AuditedScores("gru", "t", label, score, score > 0.45, student)
    return scores, {"sex": sex.tolist(), "race_ethnicity": race.tolist()}


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_rates_by_group_counted_by_hand(seed: int) -> None:
    scores, values = audited(seed)
    (family,) = audit_families(values)
    groups, gaps = measure_family(scores, family, draws=Draws(20, 0))
    for entry, members in zip(groups, family.members, strict=True):
        label, flagged, score = scores.label[members], scores.flagged[members], scores.score[members]
        missed, caught = ((label == 1) & ~flagged).sum(), ((label == 1) & flagged).sum()
        alarms, passed = ((label == 0) & flagged).sum(), ((label == 0) & ~flagged).sum()
        by_hand = {
            "fnr": missed / (missed + caught),
            "fpr": alarms / (alarms + passed),
            "ppv": caught / (caught + alarms),
            "selection_rate": (caught + alarms) / members.sum(),
            "share_left": label.mean(),
            "calibration_error": score.mean() - label.mean(),
            "auc": np.mean([(a > b) + 0.5 * (a == b) for a in score[label == 1] for b in score[label == 0]]),
        }
        assert entry.n_students == len(np.unique(scores.student[members]))
        for metric, value in by_hand.items():
            figure = entry.figures[metric]
            if figure.value is not None:
                assert figure.value == pytest.approx(value), metric
                assert figure.low is not None
                assert figure.high is not None
                assert figure.low - 1e-6 <= figure.value <= figure.high + 0.2
    for gap in gaps:
        told = {g.group: g.figures[gap.metric].value for g in groups if g.attribute == gap.attribute}
        known = {group: value for group, value in told.items() if value is not None}
        if len(known) >= 2:
            assert gap.gap.value == pytest.approx(known[gap.higher or ""] - known[gap.lower or ""])
            assert gap.gap.low is not None
            assert gap.gap.low <= gap.gap.value
            if gap.gap.low <= 0:
                assert gap.gap.value == pytest.approx(max(known.values()) - min(known.values()))


def test_replicates_of_a_rate_are_those_of_the_drawn_students() -> None:
    scores, values = audited(3)
    (family,) = audit_families({"sex": values["sex"]})
    groups, _ = measure_family(scores, family, draws=Draws(40, 7))
    weight = np.concatenate(list(cluster_weights(300, replicates=40, seed=7)), axis=1)
    for group, members in zip(groups, family.members, strict=True):
        slow = []
        for draw in weight.T:
            rows = np.repeat(np.arange(600), (draw[scores.student] * members).astype(int))
            slow.append(1 - scores.flagged[rows][scores.label[rows] == 1].mean())
        figure = group.figures["fnr"]
        assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_a_planted_unfairness_is_found_and_none_is_not() -> None:
    scores, values = audited(5, n=4000)
    (family,) = audit_families({"sex": values["sex"]})

    def fnr_gap(flagged: np.ndarray) -> tuple[str | None, float, float]:
        changed = AuditedScores("gru", "t", scores.label, scores.score, flagged, scores.student)
        gap = next(g for g in measure_family(changed, family, draws=Draws(100, 0))[1] if g.metric == "fnr")
        assert gap.gap.value is not None
        assert gap.gap.low is not None
        return gap.higher, gap.gap.value, gap.gap.low

    assert fnr_gap(scores.flagged)[2] < 0.05
    unfair = scores.flagged & ~((np.asarray(values["sex"]) == "f") & (np.arange(4000) % 3 == 0))
    highest, value, low = fnr_gap(unfair)
    assert highest == "f"
    assert value > 0.1
    assert low > 0.05


def test_a_small_groups_luck_does_not_hide_a_gap_that_is_sure() -> None:
    n = 3000
    student = np.arange(n)
    group = np.where(student < 60, "small", np.where(student % 2 == 0, "a", "b"))
    left = student % 3 == 0
    flagged = np.zeros(n, dtype=np.bool_)
    for name, missed_of_20 in {"a": 10, "b": 5, "small": 11}.items():
        leavers = np.flatnonzero(left & (group == name))
        flagged[leavers] = np.arange(len(leavers)) % 20 >= missed_of_20
    scores = AuditedScores("gru", "t", left.astype(np.int8), np.full(n, 0.3), flagged, student)
    (family,) = audit_families({"sex": group.tolist()})
    groups, gaps = measure_family(scores, family, draws=Draws(200, 0))
    missed = {entry.group: entry.figures["fnr"].value or 0.0 for entry in groups}
    assert missed["small"] > missed["a"] > missed["b"], "the widest pair is the small group's"
    (gap,) = [entry for entry in gaps if entry.metric == "fnr"]
    assert (gap.higher, gap.lower) == ("a", "b")
    assert gap.gap.value == pytest.approx(missed["a"] - missed["b"])
    assert (gap.gap.low or 0) > 0.1


def test_few_leavers_say_nothing_about_misses() -> None:
    n = 400
    student = np.arange(n)
    label = (student < 60).astype(np.int8)
    sex = ["f" if i < 45 or i >= 250 else "m" for i in range(n)]
    scores = AuditedScores("gru", "t", label, np.linspace(0.9, 0.1, n), student < 80, student)
    (family,) = audit_families({"sex": sex})
    groups, gaps = measure_family(scores, family, draws=Draws(10, 0))
    assert [g.figures["fnr"].value is None for g in groups] == [False, True]
    assert all(g.figures["selection_rate"].value is not None for g in groups)
    gap = next(g for g in gaps if g.metric == "fnr")
    assert (gap.gap.value, gap.higher) == (None, None)


def test_students_without_a_value_take_no_part_in_gaps() -> None:
    scores, values = audited(8, n=2000)
    quarter = np.arange(2000) % 8 >= 6
    flagged = scores.flagged & ~quarter
    sex = [None if unknown else value for unknown, value in zip(quarter, values["sex"], strict=True)]
    (family,) = audit_families({"sex": sex})
    changed = AuditedScores("gru", "t", scores.label, scores.score, flagged, scores.student)
    groups, gaps = measure_family(changed, family, draws=Draws(10, 0))
    missed = {g.group: g.figures["fnr"].value for g in groups}
    assert missed["not recorded"] == 1.0
    gap = next(g for g in gaps if g.metric == "fnr")
    assert {gap.higher, gap.lower} == {"f", "m"}
    assert gap.gap.value == pytest.approx(abs((missed["f"] or 0) - (missed["m"] or 0)))
