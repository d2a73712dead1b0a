"""What a district could do without a model: flag by the ABC rule, or support whole schools (Perdomo et al. 2023)."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Task
from edupulse_ml.core.sequences import windows_ending_at
from edupulse_ml.models.labels import labelled_steps
from edupulse_ml.models.protocol import TrainingData
from edupulse_ml.models.rivals.abc_rule import AbcRule

Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]

ABC_FLAG: Final = "abc_flag"
SCHOOL_TARGETING: Final = "school_targeting"

_PRIOR_ROWS: Final = 200.0
"""A school of which nothing is known counts like the district: its rate is that of so many student-weeks more."""


def simple_strategies(
    learned_from: TrainingData, judged: TrainingData, *, tasks: Sequence[Task], student: Int32, step: Int32
) -> Mapping[str, Mapping[str, Float64]]:
    """Scores [B] by strategy and task for the student-weeks of `judged` at (student, step).

    `abc_flag`: 1 where a student is absent for 10 % of the year, fails a core course or was suspended out of school.
    `school_targeting`: the rate of the event at the student's school in the weeks that models learned from.
    """
    flags = _abc_flags(judged, student, step)
    school = judged.block.school[student, step]
    return {
        ABC_FLAG: {task.name: flags for task in tasks},
        SCHOOL_TARGETING: {task.name: school_rates(learned_from, task=task, school=school) for task in tasks},
    }


def school_rates(data: TrainingData, *, task: Task, school: Int32) -> Float64:
    """[B] rate of the event at each `school` [B] among the student-weeks of `data`, drawn to the district's where few."""
    steps = labelled_steps(data, tasks=[task])
    rows = np.flatnonzero(steps.labels[task.name] != LABEL_UNKNOWN)
    label = steps.labels[task.name][rows].astype(np.float64)
    learned = data.block.school[steps.student[rows], steps.step[rows]]
    n_schools = int(max(data.block.school.max(initial=0), school.max(initial=0))) + 1
    overall = float(label.mean()) if len(label) else 0.0
    events = np.bincount(learned, weights=label, minlength=n_schools)
    count = np.bincount(learned, minlength=n_schools)
    return ((events + _PRIOR_ROWS * overall) / (count + _PRIOR_ROWS))[school]


def _abc_flags(data: TrainingData, student: Int32, step: Int32) -> Float64:
    last = windows_ending_at(data.block, student=student, step=step, window_weeks=1)
    level = AbcRule().levels(last)
    return np.isin(level, (1, 2, 3)).astype(np.float64)
