"""Reads the training cohort's and the latest student-weeks, sampled students at a time, and scores the former."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import ModelVersion, StudentKey
from edupulse_ml.core.sequences import FeatureBlock, SequenceBatch, week_of_school_year, windows_ending_at
from edupulse_ml.core.sufficiency import SufficiencyPolicy, coverage_shares, has_enough
from edupulse_ml.core.weeks import day_number
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from edupulse_ml.monitoring.cohort_drift import Cohort
from edupulse_ml.monitoring.watch_policy import DriftPolicy
from jobs.wiring import JobContext

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
Predict = Callable[[SequenceBatch], Mapping[str, NDArray[np.float64]]]

_STUDENTS_PER_CHUNK: Final = 2000


@dataclass(frozen=True)
class TrainingWeeks:
    """Mondays (day numbers) of the first and the last week that the model learned from."""

    first: int
    last: int

    @classmethod
    def of(cls, tags: Mapping[str, str], *, version: ModelVersion) -> "TrainingWeeks":
        """As the tags of a registered version say.

        Raises:
            NotFoundError: they do not.
        """
        try:
            first, last = (
                day_number(date.fromisoformat(tags[name])) - CUTOFF_DAYS_AFTER_MONDAY
                for name in ("data_first_cutoff", "data_last_cutoff")
            )
        except KeyError:
            raise NotFoundError(
                f"Version {version} does not say on which weeks it was trained (tags data_first_cutoff and"
                " data_last_cutoff): monitor a version that `edupulse train` registered."
            ) from None
        return cls(first, last)


@dataclass(frozen=True)
class Scorer:
    """What the model would say of the training cohort: its `predict`, tasks and window."""

    predict: Predict
    tasks: Sequence[str]
    window_weeks: int


@dataclass(frozen=True)
class ReadCohorts:
    """Features of both sides, scores of the training cohort in the order of the scorer's tasks, and the number in its
    school year of each latest week (Monday's day number).
    """

    reference: Cohort
    current: Cohort
    reference_scores: Cohort
    week_numbers: Mapping[int, int]


@dataclass
class _Parts:
    reference: list[Cohort] = field(default_factory=list)
    current: list[Cohort] = field(default_factory=list)
    scores: list[Cohort] = field(default_factory=list)
    week_numbers: dict[int, int] = field(default_factory=dict)


async def read_cohorts(
    context: JobContext,
    training: TrainingWeeks,
    scorer: Scorer,
    *,
    weeks: Sequence[int],
    policy: DriftPolicy,
    on_share: Callable[[float], None],
) -> ReadCohorts:
    """Student-weeks of `weeks` and, of the training weeks, those with the same number in their school year."""
    keys = await context.reader.all_student_keys()
    sampled = keys[:: max(1, -(-len(keys) // policy.max_students))]
    parts = _Parts()
    for at in range(0, len(sampled), _STUDENTS_PER_CHUNK):
        chunk = sampled[at : at + _STUDENTS_PER_CHUNK]
        block = await context.features.read_history(
            chunk, from_week=training.first, to_week=weeks[-1], contract=context.contract
        )
        _add(parts, block, chunk, training, scorer, weeks)
        on_share(min(1.0, (at + len(chunk)) / len(sampled)))
    return ReadCohorts(
        Cohort.joined(parts.reference), Cohort.joined(parts.current), Cohort.joined(parts.scores), parts.week_numbers
    )


def _add(
    parts: _Parts,
    block: FeatureBlock,
    keys: Sequence[StudentKey],
    training: TrainingWeeks,
    scorer: Scorer,
    weeks: Sequence[int],
) -> None:
    number = week_of_school_year(block.aux)
    is_current = np.isin(block.week, list(weeks))
    is_reference = (block.week >= training.first) & (block.week <= training.last)
    is_reference &= np.isin(number, np.unique(number[is_current]))
    student_of = np.asarray(keys, np.int64)
    parts.current.append(_cohort(block, number, student_of, is_current))
    parts.reference.append(_cohort(block, number, student_of, is_reference))
    for week in weeks:
        of_week = number[block.week == week]
        if len(of_week):
            parts.week_numbers.setdefault(week, int(np.bincount(of_week).argmax()))
    parts.scores.append(_scores(block, number, student_of, is_reference, scorer))


def _cohort(block: FeatureBlock, number: Int32, student_of: NDArray[np.int64], keep: Bool) -> Cohort:
    student, step = np.nonzero(keep)
    return Cohort(student_of[student], number[student, step], block.values[student, step])


def _scores(block: FeatureBlock, number: Int32, student_of: NDArray[np.int64], keep: Bool, scorer: Scorer) -> Cohort:
    """Scores of the student-weeks with enough data to be scored when they were new."""
    student, step = (where.astype(np.int32) for where in np.nonzero(keep))
    if len(student) == 0:
        return Cohort(student_of[student], number[student, step], np.empty((0, len(scorer.tasks))))
    batch = windows_ending_at(block, student=student, step=step, window_weeks=scorer.window_weeks)
    enough = has_enough(
        coverage_shares(batch),
        weeks=batch.length,
        feature_age_days=np.zeros(len(student), dtype=np.int32),
        policy=SufficiencyPolicy(),
    )
    predicted = scorer.predict(batch.select(enough))
    return Cohort(
        student_of[student[enough]],
        number[student[enough], step[enough]],
        np.stack([predicted[task] for task in scorer.tasks], axis=1),
    )
