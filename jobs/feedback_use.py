"""What feedback changes in an experiment: which student-weeks are not learned from, and what the report says of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.feedback import Interventions
from edupulse_ml.core.outcomes import Int32, Outcomes, Task, task_labels
from edupulse_ml.core.sequences import FeatureBlock
from edupulse_ml.evaluation.figures import MIN_STUDENTS
from edupulse_ml.evaluation.interventions import (
    intervention_spells,
    steps_not_to_learn_from,
    steps_that_met_intervention,
)
from edupulse_ml.evaluation.metrics import measure
from edupulse_ml.evaluation.reported_outcomes import MergedOutcomes
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, TrainingData

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class InterventionRule:
    """A student-week met support that was in force at its cutoff or began within `horizon_days` after it."""

    horizon_days: int
    seed: int

    def steps_to_leave_out(
        self, block: FeatureBlock, outcomes: Outcomes, interventions: Interventions, *, as_of_day: int
    ) -> Bool:
        """[N, S] steps that training and calibration do without, by the support known on `as_of_day`."""
        spells = intervention_spells(interventions, as_of_day=as_of_day)
        return steps_not_to_learn_from(block, outcomes, spells, horizon_days=self.horizon_days, seed=self.seed)

    def steps_that_met(self, block: FeatureBlock, interventions: Interventions, *, as_of_day: int) -> Bool:
        """[N, S] steps that met the support known on `as_of_day`."""
        spells = intervention_spells(interventions, as_of_day=as_of_day)
        return steps_that_met_intervention(block, spells, horizon_days=self.horizon_days)


@dataclass(frozen=True)
class FeedbackUse:
    """What feedback changed. Student-weeks of training and calibration, and how many of them were left out for support;
    `met_now` [N, S] marks all steps that met support; students of whom a reported outcome counted, or was overruled.
    """

    n_steps: int
    n_left_out: int
    n_students_left_out: int
    met_now: Bool
    n_reports_used: int
    n_reports_overruled: int


def feedback_use(merged: MergedOutcomes, eligible: Bool, left_out: Bool, *, met_now: Bool) -> FeedbackUse | None:
    """The counts; None where nobody gave feedback that matters. `eligible` [N, S]: what would be learned from without."""
    if not (met_now.any() or left_out.any() or merged.n_used or merged.n_overruled):
        return None
    lost = eligible & left_out
    return FeedbackUse(
        n_steps=int(eligible.sum()),
        n_left_out=int(lost.sum()),
        n_students_left_out=int(lost.any(axis=1).sum()),
        met_now=met_now,
        n_reports_used=merged.n_used,
        n_reports_overruled=merged.n_overruled,
    )


def feedback_notes(
    use: FeedbackUse | None,
    test: TrainingData,
    *,
    task: Task,
    student: Int32,
    step: Int32,
    score: NDArray[np.float64] | None,
) -> tuple[str, ...]:
    """Sentences for the report: what was left out, and the model's figures with and without the judged student-weeks
    that met support. Fewer than ten students are not told of.
    """
    if use is None:
        return ()
    notes = [_reports_sentence(use), _left_out_sentence(use, task)]
    if score is not None:
        notes.append(_judged_sentence(use, test, task=task, student=student, step=step, score=score))
    return tuple(note for note in notes if note)


def _reports_sentence(use: FeedbackUse) -> str:
    used, overruled = use.n_reports_used, use.n_reports_overruled
    if not used + overruled:
        return ""
    if 0 < used < MIN_STUDENTS or 0 < overruled < MIN_STUDENTS:
        return "Some outcomes were reported by people; of how many students is not told where they are fewer than ten."
    return (
        f"Outcomes reported by people counted for {used:,} students; for {overruled:,} the registry's exits or later "
        "enrolments said otherwise, and won."
    )


def _left_out_sentence(use: FeedbackUse, task: Task) -> str:
    if not use.n_left_out:
        return ""
    if use.n_students_left_out < MIN_STUDENTS:
        return "Student-weeks of fewer than ten students were not learned from because they met support."
    return (
        f"{use.n_left_out:,} of {use.n_steps:,} student-weeks of training and calibration were not learned from: support "
        f"was in force, or began within {task.end_day} days (leavers: or would have begun for a student like them)."
    )


def _judged_sentence(
    use: FeedbackUse,
    test: TrainingData,
    *,
    task: Task,
    student: Int32,
    step: Int32,
    score: NDArray[np.float64],
) -> str:
    """With and without the judged student-weeks that met support. The difference of the two tells of those who met it, so
    that ten who left and ten who stayed must stand on either side.
    """
    cutoff = (test.block.week[student, step] + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)
    label = task_labels(test.outcomes.select(student), cutoff_day=cutoff, task=task)
    answered = label >= 0
    met = use.met_now[student, step] & answered
    if not met.any():
        return ""
    sides = [rows & (label == answer) for rows in (met, answered & ~met) for answer in (0, 1)]
    if min(len(np.unique(student[rows])) for rows in sides) < MIN_STUDENTS:
        return "Too few judged students left, or stayed, with support or without it, for figures with and without them."
    every, without = (_in_words(label[rows], score[rows]) for rows in (answered, answered & ~met))
    return (
        f"{int(met.sum()):,} of {int(answered.sum()):,} judged student-weeks met support. {task.name} on all of them: "
        f"{every}. Without those: {without}."
    )


def _in_words(label: NDArray[np.int8], score: NDArray[np.float64]) -> str:
    auc = measure(label, score)["auc"]
    ranked = f"AUC {auc.value:.3f}" if auc.reason is None else "no AUC"
    return f"{ranked}, mean score {score.mean():.4f} where {label.mean():.4f} left"
