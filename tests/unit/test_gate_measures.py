"""Figures of the gate against slow oracles and what must hold for any rows."""

from dataclasses import replace

import numpy as np
import pytest

from edupulse_ml.evaluation.gate_measures import (
    JudgedRows,
    _ece_noise,
    _flags,
    calibration_figures,
    compare,
    fairness_gaps,
)
from edupulse_ml.evaluation.metrics import expected_calibration_error, mass_bins
from edupulse_ml.evaluation.promotion_policy import load_policy

POLICY = load_policy().model_copy(update={"replicates": 200})


def made_rows(*, seed: int = 0, students: int = 600, rows_each: int = 3, noise: float = 1.0) -> JudgedRows:
    """Students with a hidden risk; the candidate's scores are calibrated, the others' are noisier."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(-2.2, 1.2, students)
    student = np.repeat(np.arange(students), rows_each)
    logit = hidden[student] + 0.2 * rng.normal(size=len(student))
    truth = 1 / (1 + np.exp(-logit))
    label = (rng.random(len(student)) < truth).astype(np.int8)

    def noisier(by: float) -> np.ndarray:
        return 1 / (1 + np.exp(-(logit + by * rng.normal(size=len(student)))))

    scores = {"candidate": truth, "champion": noisier(noise), "lightgbm": noisier(noise)}
    return JudgedRows("risk_score", label, student, scores | {"abc_rule": np.where(truth > 0.3, 0.4, 0.1)})


class TestFlags:
    def test_without_ties_they_are_the_top_of_the_list(self) -> None:
        score = np.random.default_rng(0).permutation(50) / 50
        flags = _flags(score, share=0.1)
        assert set(np.flatnonzero(flags)) == set(np.argsort(-score)[:5])

    @pytest.mark.parametrize("seed", range(5))
    def test_ties_share_the_places_left(self, seed: int) -> None:
        score = np.random.default_rng(seed).integers(0, 4, 97) / 4
        flags = _flags(score, share=0.1)
        assert flags.sum() == pytest.approx(10)
        assert len(np.unique(flags[score == score.max()])) == 1

    def test_each_landmark_has_a_list_of_its_own(self) -> None:
        score = np.concatenate([np.linspace(0.5, 0.9, 40), np.linspace(0.1, 0.3, 20)])
        landmark = np.array(["2025-01"] * 40 + ["2025-02"] * 20)
        flags = _flags(score, share=0.1, landmark=landmark)
        assert np.flatnonzero(flags).tolist() == [36, 37, 38, 39, 58, 59]

    def test_nobody_is_flagged_among_nobody(self) -> None:
        assert len(_flags(np.zeros(0), share=0.1)) == 0


class TestCompare:
    def test_a_better_candidate_is_ahead_of_every_opponent(self) -> None:
        ranking, lists = compare(made_rows(noise=2.0), POLICY)
        assert {(entry.opponent, entry.metric) for entry in ranking} == {
            (opponent, metric) for opponent in ("champion", "lightgbm") for metric in ("average_precision", "auc")
        }
        assert all(entry.difference.low > 0 for entry in ranking)
        assert [entry.share for entry in lists] == [0.05, 0.1]
        assert all(entry.difference.low <= entry.difference.value <= entry.difference.high for entry in lists)

    def test_a_model_beside_itself_differs_by_nothing(self) -> None:
        rows = made_rows()
        same = JudgedRows(rows.task, rows.label, rows.student, dict.fromkeys(rows.scores, rows.scores["candidate"]))
        ranking, _ = compare(same, POLICY)
        assert all(
            (entry.difference.value, entry.difference.low, entry.difference.high) == (0, 0, 0) for entry in ranking
        )

    def test_without_a_champion_nothing_is_said_of_one(self) -> None:
        rows = made_rows()
        scores = {name: score for name, score in rows.scores.items() if name != "champion"}
        ranking, _ = compare(JudgedRows(rows.task, rows.label, rows.student, scores), POLICY)
        assert {entry.opponent for entry in ranking} == {"lightgbm"}

    def test_too_few_leavers_tell_nothing(self) -> None:
        rows = made_rows(students=12, rows_each=1)
        ranking, lists = compare(rows, POLICY)
        assert all(entry.difference.value is None and entry.difference.reason for entry in (*ranking, *lists))
        assert calibration_figures(rows, POLICY).base_rate is None


class TestCalibration:
    def test_true_probabilities_are_calibrated(self) -> None:
        held = 0
        for seed in range(20):
            slope = calibration_figures(made_rows(students=300, seed=seed), POLICY).slope
            held += slope.low <= 1.0 <= slope.high
        assert held >= 17

    def test_overconfidence_is_seen(self) -> None:
        rows = made_rows(students=3000)
        truth = rows.scores["candidate"]
        wild = 1 / (1 + np.exp(-2 * np.log(truth / (1 - truth))))
        figures = calibration_figures(
            JudgedRows(rows.task, rows.label, rows.student, {**rows.scores, "candidate": wild}), POLICY
        )
        assert figures.slope.high < 0.9
        assert figures.ece.low > 0.01

    def test_a_students_rows_written_twice_change_no_interval_of_the_slope(self) -> None:
        rows = made_rows(students=300)
        twice = JudgedRows(
            rows.task,
            np.tile(rows.label, 2),
            np.tile(rows.student, 2),
            {name: np.tile(score, 2) for name, score in rows.scores.items()},
        )
        once, again = calibration_figures(rows, POLICY).slope, calibration_figures(twice, POLICY).slope
        assert (again.low, again.value, again.high) == pytest.approx((once.low, once.value, once.high), abs=1e-6)

    def test_the_slopes_interval_is_that_of_resampled_students(self) -> None:
        from edupulse_ml.evaluation.metrics import calibration_slope

        rows = made_rows(students=800)
        rng = np.random.default_rng(5)
        drawn = []
        for _ in range(120):
            chosen = np.concatenate([np.flatnonzero(rows.student == s) for s in rng.integers(0, 800, 800)])
            drawn.append(calibration_slope(rows.label[chosen], rows.scores["candidate"][chosen]).value)
        figure = calibration_figures(rows, POLICY).slope
        assert figure.high - figure.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.25)

    def test_chance_makes_no_sure_ece(self) -> None:
        lows = [calibration_figures(made_rows(students=300, seed=seed), POLICY).ece.low for seed in range(30)]
        assert sum(low > 0 for low in lows) <= 3
        assert max(lows) < 0.01

    def test_the_noise_of_the_ece_is_that_of_new_labels(self) -> None:
        rows = made_rows(students=400, rows_each=1)
        score, bins = rows.scores["candidate"], mass_bins(rows.scores["candidate"])
        rng = np.random.default_rng(9)
        drawn = [
            expected_calibration_error((rng.random(len(score)) < score).astype(np.int8), score) for _ in range(300)
        ]
        noise = _ece_noise(rows.label - score, bins, rows.student, replicates=300, seed=1)
        assert np.mean(noise) == pytest.approx(np.mean(drawn), rel=0.15)
        assert np.quantile(noise, 0.975) == pytest.approx(np.quantile(drawn, 0.975), rel=0.2)

    def test_rows_of_one_student_are_one_piece_of_luck(self) -> None:
        rows = made_rows(students=200, rows_each=1)
        many = JudgedRows(
            rows.task,
            np.repeat(rows.label, 9),
            np.repeat(rows.student, 9),
            {name: np.repeat(score, 9) for name, score in rows.scores.items()},
        )
        once, nine = calibration_figures(rows, POLICY).ece, calibration_figures(many, POLICY).ece
        assert nine.high - nine.value == pytest.approx(once.high - once.value, rel=0.05)


class TestFairness:
    def groups(self, rows: JudgedRows, seed: int = 1) -> list[str | None]:
        of_student = np.random.default_rng(seed).choice(["a", "b"], int(rows.student.max()) + 1)
        return of_student[rows.student].tolist()

    def biased(self, rows: JudgedRows, group: list, *, shift: float) -> JudgedRows:
        score = rows.scores["candidate"]
        logit = np.log(score / (1 - score)) + shift * (np.asarray(group) == "b")
        return JudgedRows(rows.task, rows.label, rows.student, {**rows.scores, "candidate": 1 / (1 + np.exp(-logit))})

    def test_flags_of_a_gap_are_those_of_each_landmarks_list(self) -> None:
        rows = made_rows(students=2000)
        group = ["a" if who % 2 else "b" for who in rows.student]
        # One half of the students is asked in a month in which all scores are higher.
        landmark = np.where(np.asarray(group) == "a", "2025-01", "2025-02")
        higher = rows.scores["candidate"] + np.where(landmark == "2025-01", 1.0, 0.0)
        moved = replace(rows, scores={**rows.scores, "candidate": higher})
        pooled, by_month = (
            fairness_gaps(each, {"sex": group}, POLICY)[0].gap for each in (moved, replace(moved, landmark=landmark))
        )
        assert pooled.value > 0.3
        assert by_month.low == 0

    def test_groups_drawn_by_chance_have_no_sure_gap(self) -> None:
        rows = made_rows(students=1500)
        gaps = fairness_gaps(rows, {"sex": self.groups(rows)}, POLICY)
        assert [gap.error for gap in gaps] == ["missed leavers", "false alarms"]
        assert all(gap.gap.low < 0.05 for gap in gaps)

    def test_scores_raised_for_one_group_are_found_in_both_errors(self) -> None:
        rows = made_rows(students=1500)
        group = self.groups(rows)
        missed, alarms = fairness_gaps(self.biased(rows, group, shift=3.0), {"sex": group}, POLICY)
        assert (missed.higher, missed.lower) == ("a", "b")
        assert (alarms.higher, alarms.lower) == ("b", "a")
        assert missed.gap.low > 0.10
        assert alarms.gap.low > 0.05

    def test_rates_are_those_counted_by_hand(self) -> None:
        rows = made_rows(students=900)
        group = np.asarray(self.groups(rows))
        flagged = _flags(rows.scores["candidate"], share=0.1)
        missed, alarms = fairness_gaps(rows, {"sex": group.tolist()}, POLICY)

        def rate(name: str, label: int) -> float:
            chosen = flagged[(group == name) & (rows.label == label)]
            return 1 - chosen.mean() if label else chosen.mean()

        assert missed.gap.value == pytest.approx(abs(rate("a", 1) - rate("b", 1)))
        assert alarms.gap.value == pytest.approx(abs(rate("a", 0) - rate("b", 0)))

    def test_small_groups_and_unknown_ones_are_not_told_of(self) -> None:
        rows = made_rows(students=600)
        group = self.groups(rows)
        tiny = ["c" if student < 9 else None if student < 300 else "a" for student in rows.student]
        for gap in fairness_gaps(rows, {"sex": tiny}, POLICY):
            assert gap.gap.value is None
            assert (gap.higher, gap.lower) == (None, None)
        assert fairness_gaps(rows, {"sex": group}, POLICY)[0].gap.value is not None

    def test_more_groups_widen_the_intervals(self) -> None:
        rows = made_rows(students=2500)
        many = np.random.default_rng(2).choice(list("abcdef"), 2500)[rows.student].tolist()
        (missed, _) = fairness_gaps(rows, {"race": many}, POLICY)
        assert missed.gap.low < 0.10
