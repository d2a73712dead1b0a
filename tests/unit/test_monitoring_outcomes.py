"""What was served, by what happened: which predictions count, and when a figure is an alert."""

import numpy as np
import pytest

from edupulse_ml.core.outcomes import EARLY_TASK, Outcomes, risk_task
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from edupulse_ml.monitoring.outcome_watch import (
    JudgedOutcomes,
    ServedScores,
    Students,
    judge_served,
    monthly,
    outcome_figures,
)
from edupulse_ml.monitoring.watch_policy import load_watch_policy

TASKS = (risk_task(), EARLY_TASK)
_, POLICY = load_watch_policy()
LIMITS = POLICY.outcomes.model_copy(update={"replicates": 100})
FIRST = 20_332
"""A Monday, 2025-09-01."""

STUDENTS = 900


def served(*, factor: float = 1.0, seed: int = 0) -> tuple[ServedScores, Students]:
    """Students who leave within half a year as often as their score says, divided by `factor`; two groups alike."""
    rng = np.random.default_rng(seed)
    risk = rng.beta(1, 6, STUDENTS)
    leaves = rng.random(STUDENTS) < risk / factor
    cutoff = FIRST + CUTOFF_DAYS_AFTER_MONDAY
    event = np.where(leaves, cutoff + rng.integers(10, 170, STUDENTS), NEVER).astype(np.int32)
    until = FIRST + 220
    outcomes = Outcomes(event, np.where(leaves, event, until).astype(np.int32), until)
    scores = {"risk_score": risk, "risk_60plus": risk / 2}
    who = np.arange(STUDENTS, dtype=np.int32)
    sex = [("female", "male")[position % 2] for position in range(STUDENTS)]
    return (
        ServedScores(who, np.full(STUDENTS, FIRST, dtype=np.int32), scores),
        Students(who, outcomes, {"sex": sex}),
    )


def judged(scores: ServedScores, students: Students) -> JudgedOutcomes | None:
    return judge_served(scores, students, tasks=TASKS, title="t", created_at="2026-04-20", policy=LIMITS)


def test_the_first_prediction_of_each_student_and_month_counts() -> None:
    rng = np.random.default_rng(1)
    rows = rng.permutation([(student, FIRST + 7 * week) for student in range(5) for week in rng.permutation(14)[:9]])
    scores = {"risk_score": np.arange(len(rows)) / 100}
    kept = monthly(ServedScores(rows[:, 0].astype(np.int32), rows[:, 1].astype(np.int32), scores))
    earliest: dict[tuple[int, str], int] = {}
    for student, week in rows.tolist():
        month = str(np.datetime64(week + CUTOFF_DAYS_AFTER_MONDAY, "D"))[:7]
        earliest[student, month] = min(week, earliest.get((student, month), week))
    expected = {(student, week) for (student, _), week in earliest.items()}
    assert set(zip(kept.student.tolist(), kept.week.tolist(), strict=True)) == expected
    by_pair = {
        (student, week): score for (student, week), score in zip(rows.tolist(), scores["risk_score"], strict=True)
    }
    for student, week, score in zip(kept.student.tolist(), kept.week.tolist(), kept.scores["risk_score"], strict=True):
        assert by_pair[student, week] == score


def test_good_scores_are_no_alert_and_questions_without_answer_are_not_told() -> None:
    report = judged(*served())
    figures = outcome_figures(report, tasks=TASKS, at_promotion={"risk_score": 0.70}, policy=LIMITS)
    assert not [figure for figure in figures if figure.is_alert]
    assert {figure.subject.split(":")[0] for figure in figures} == {"risk_score"}, "a year has not passed"
    by_kind = {figure.kind: figure for figure in figures}
    assert by_kind["auc"].reference == 0.70
    assert by_kind["auc"].limit == pytest.approx(0.65)
    assert by_kind["fnr_gap"].subject == "risk_score:sex"
    assert by_kind["calibration_slope"].value == pytest.approx(1.0, abs=0.35)


def test_a_ranking_that_has_fallen_is_an_alert_only_beside_what_it_was() -> None:
    scores, students = served()
    shuffled = ServedScores(
        scores.student,
        scores.week,
        {name: np.random.default_rng(2).permutation(values) for name, values in scores.scores.items()},
    )
    report = judged(shuffled, students)
    figures = outcome_figures(report, tasks=TASKS, at_promotion={"risk_score": 0.75}, policy=LIMITS)
    assert {figure.kind for figure in figures if figure.is_alert} >= {"auc", "calibration_slope"}
    untold = outcome_figures(report, tasks=TASKS, at_promotion={}, policy=LIMITS)
    assert "auc" not in {figure.kind for figure in untold if figure.is_alert}


def test_a_group_whose_leavers_are_missed_is_an_alert() -> None:
    scores, students = served()
    is_male = np.arange(STUDENTS) % 2 == 1
    risk = np.where(is_male, scores.scores["risk_score"] / 20, scores.scores["risk_score"])
    unfair = ServedScores(scores.student, scores.week, {"risk_score": risk, "risk_60plus": risk})
    figures = outcome_figures(judged(unfair, students), tasks=TASKS, at_promotion={}, policy=LIMITS)
    (gap,) = [figure for figure in figures if figure.kind == "fnr_gap"]
    assert gap.is_alert
    assert gap.note == "higher for male than for female"


def test_nothing_has_come_of_age() -> None:
    scores, students = served()
    young = Students(
        students.person, Outcomes(students.outcomes.event_day, students.outcomes.followed_until, FIRST + 100), {}
    )
    report = judged(scores, young)
    assert report is None
    figures = outcome_figures(report, tasks=TASKS, at_promotion={"risk_score": 0.7}, policy=LIMITS)
    assert [(figure.value, figure.is_alert) for figure in figures] == [(None, False)] * 2
