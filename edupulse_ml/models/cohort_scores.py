"""Raw scores of a calibration cohort, and the calibrators fitted on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Task
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.calibration import EVENTS_FOR_PLATT, Calibrator, fit_calibrator
from edupulse_ml.models.labels import LabelledSteps, labelled_steps
from edupulse_ml.models.protocol import TrainingData, labelled_rows

CALIBRATION_ROWS: Final = 60_000
ROWS_PER_RUN: Final = 2048

Predict = Callable[[SequenceBatch], Mapping[str, NDArray[np.float64]]]
"""Probability per task name, each [B], for a batch of B examples."""


@dataclass(frozen=True)
class CohortSample:
    """Which student-weeks of a cohort are scored: at most `max_rows`, drawn with `seed`, with windows of
    `window_weeks`.
    """

    window_weeks: int
    max_rows: int = CALIBRATION_ROWS
    seed: int = 0


@dataclass(frozen=True)
class CohortScores:
    """R sampled student-weeks with their labels and raw scores per task: [R], or [R, C] before C members are stacked."""

    steps: LabelledSteps
    scores: Mapping[str, NDArray[np.float64]]

    def calibrator(self, task: Task, *, allow_small: bool) -> Calibrator:
        """The task's calibrator, fitted on the rows that have a label.

        Raises:
            NotEnoughDataError: too few students with the event, unless `allow_small`.
        """
        rows = self.steps.known(task.name)
        return fit_calibrator(
            self.scores[task.name][rows],
            self.steps.labels[task.name][rows],
            student=self.steps.student[rows],
            allow_small=allow_small,
        )

    def students_with_event(self, task: Task) -> int:
        """Students with at least one student-week labelled 1."""
        return len(np.unique(self.steps.student[self.steps.labels[task.name] == 1]))

    def base_rate(self, task: Task) -> float:
        """Share of events among labelled student-weeks, NaN without any."""
        labels = self.steps.labels[task.name]
        known = labels != LABEL_UNKNOWN
        return float(labels[known].mean()) if known.any() else float("nan")


def score_cohort(predict: Predict, data: TrainingData, *, tasks: Sequence[Task], sample: CohortSample) -> CohortScores:
    """Raw scores of the sampled student-weeks, in runs that keep memory flat."""
    steps = labelled_steps(data, tasks=tasks, max_rows=sample.max_rows, seed=sample.seed)
    runs: list[Mapping[str, NDArray[np.float64]]] = []
    # A cohort without rows still needs one (empty) run to name its tasks.
    for at in range(0, max(len(steps.student), 1), ROWS_PER_RUN):
        part = slice(at, at + ROWS_PER_RUN)
        rows = labelled_rows(data, student=steps.student[part], step=steps.step[part], window_weeks=sample.window_weeks)
        runs.append(predict(rows.batch))
    return CohortScores(steps, {task.name: np.concatenate([run[task.name] for run in runs]) for task in tasks})


def fit_calibrators(
    predict: Predict,
    scored: CohortScores,
    held_out: TrainingData | None,
    *,
    tasks: Sequence[Task],
    sample: CohortSample,
    allow_small: bool,
) -> dict[str, Calibrator]:
    """A calibrator per task, fitted on the calibration cohort's scores.

    A task with too few events there is calibrated on `held_out`, see `cohort_of_each_task`.

    Raises:
        NotEnoughDataError: too few students with the event in both, unless `allow_small`.
    """
    chosen = cohort_of_each_task(predict, scored, held_out, tasks=tasks, sample=sample)
    return {task.name: chosen[task.name].calibrator(task, allow_small=allow_small) for task in tasks}


def cohort_of_each_task(
    predict: Predict,
    scored: CohortScores,
    held_out: TrainingData | None,
    *,
    tasks: Sequence[Task],
    sample: CohortSample,
) -> dict[str, CohortScores]:
    """By task, the scores to calibrate it on: those of the calibration cohort, or, for a task with too few events there,
    of `held_out`, earlier weeks of people whom training never saw, where those have more.
    """
    earlier = _score_held_out(predict, scored, held_out, tasks=tasks, sample=sample)
    return {task.name: earlier.get(task.name, scored) for task in tasks}


def _score_held_out(
    predict: Predict,
    scored: CohortScores,
    held_out: TrainingData | None,
    *,
    tasks: Sequence[Task],
    sample: CohortSample,
) -> dict[str, CohortScores]:
    """The held-out people's earlier weeks for the tasks that have too few events in the calibration cohort."""
    lacking = [task for task in tasks if scored.students_with_event(task) < EVENTS_FOR_PLATT]
    if held_out is None or not lacking or not held_out.eligible.any():
        return {}
    earlier = score_cohort(predict, held_out, tasks=lacking, sample=sample)
    return {
        task.name: earlier for task in lacking if earlier.students_with_event(task) > scored.students_with_event(task)
    }
