"""What a report says about feedback: counts, figures with and without, and nothing about a few students."""

from dataclasses import replace

import numpy as np
import pytest

from edupulse_ml.core.feedback import Interventions
from edupulse_ml.core.outcomes import risk_task, task_labels
from edupulse_ml.core.sequences import PAD
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.evaluation.reported_outcomes import MergedOutcomes
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from jobs.experiment import Experiment, History, landmarks, set_up
from jobs.feedback_use import FeedbackUse, feedback_notes, feedback_use
from tests.fakes.judged_history import history

TASK = risk_task(180)


def supported(students: int) -> History:
    plain = history()
    who = np.arange(students, dtype=np.int32)
    first = np.full(students, plain.block.week[plain.block.week != PAD].min() + 20, np.int32)
    return replace(
        plain, interventions=Interventions(who, first, first + 30, first, np.full(students, NEVER, np.int32))
    )


def experiment(of: History) -> Experiment:
    return set_up(of, test_year=None, tasks=[TASK], window_weeks=4, seed=0)


def notes(found: Experiment, use: FeedbackUse | None) -> tuple[str, ...]:
    student, step = landmarks(found.test)
    score = np.linspace(0.01, 0.2, len(student))
    return feedback_notes(use, found.test, task=TASK, student=student, step=step, score=score)


def test_without_feedback_nothing_is_said() -> None:
    found = experiment(history())
    assert found.feedback is None
    assert notes(found, found.feedback) == ()


def test_what_was_left_out_is_counted_and_figures_are_told_with_and_without() -> None:
    found, plain = experiment(supported(800)), experiment(history())
    use = found.feedback
    assert use is not None
    parts = ("train", "calibration")
    before, after = (sum(getattr(one, part).eligible.sum() for part in parts) for one in (plain, found))
    assert use.n_left_out >= before - after > 0
    left_out, judged = notes(found, use)
    assert left_out.startswith(f"{use.n_left_out:,} of {use.n_steps:,} student-weeks")
    assert "Without those: AUC" in judged


@pytest.mark.parametrize(("answer", "side"), [(1, "met"), (0, "met"), (1, "rest"), (0, "rest")])
@pytest.mark.parametrize(("students", "told"), [(9, False), (10, True)])
def test_figures_with_and_without_need_ten_who_left_and_ten_who_stayed(
    answer: int, side: str, students: int, told: bool
) -> None:
    found = experiment(history())
    student, step = landmarks(found.test)
    cutoff = (found.test.block.week[student, step] + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)
    label = task_labels(found.test.outcomes.select(student), cutoff_day=cutoff, task=TASK)
    met = np.zeros(len(student), dtype=np.bool_)
    for one in (0, 1):
        who = np.unique(student[label == one])
        assert len(who) >= 20, "enough for both sides"
        few = who[:students] if one == answer else who[: len(who) // 2]
        met |= (label == one) & (np.isin(student, few) ^ (one == answer and side == "rest"))
    met_now = np.zeros_like(found.test.eligible)
    met_now[student[met], step[met]] = True
    use = FeedbackUse(1, 0, 0, met_now, 0, 0)
    (sentence,) = notes(found, use)
    assert ("Without those" in sentence) == told
    assert sentence.startswith("Too few") != told


def test_few_students_are_not_told_of() -> None:
    found = experiment(supported(8))
    for sentence in notes(found, found.feedback):
        assert not any(character.isdigit() for character in sentence.replace("180", ""))


@pytest.mark.parametrize(("used", "overruled", "told"), [(12, 0, True), (12, 11, True), (12, 9, False), (9, 0, False)])
def test_reported_outcomes_are_counted_where_there_are_enough(used: int, overruled: int, told: bool) -> None:
    found = experiment(history())
    nowhere = np.zeros_like(found.train.eligible)
    merged = MergedOutcomes(found.train.outcomes, used, overruled)
    (sentence,) = notes(found, feedback_use(merged, found.train.eligible, nowhere, met_now=nowhere))
    assert (str(used) in sentence) == told
