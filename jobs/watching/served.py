"""Reads what was served, and what became of the students it spoke of."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import numpy as np

from edupulse_ml.core.ids import ModelVersion, StudentKey
from edupulse_ml.core.outcomes import EARLY_TASK, Task
from edupulse_ml.core.tables import AUDIT_ATTRIBUTES
from edupulse_ml.monitoring.cohort_drift import Cohort
from edupulse_ml.monitoring.outcome_watch import ServedScores, Students
from edupulse_ml.storage.monitoring import MonitoringRepository
from edupulse_ml.storage.records import AuditAttributeReader
from jobs.known_outcomes import known_outcomes
from jobs.wiring import JobContext

_DAYS_PER_WEEK: Final = 7


def score_tasks(task: Task) -> tuple[Task, Task]:
    """The two questions whose scores are stored, the headline first."""
    return (task, EARLY_TASK)


async def read_scores(
    context: JobContext, *, version: ModelVersion, week_numbers: Mapping[int, int], as_of: datetime
) -> Cohort:
    """What one version said in time of the weeks (Mondays) in `week_numbers`, in the order of `score_tasks`; the values are
    the numbers of the weeks in their school year.
    """
    found = await MonitoringRepository(context.database).served_scores(
        from_week=min(week_numbers), to_week=max(week_numbers), as_of=as_of, versions=[version]
    )
    keep = np.isin(found.week, list(week_numbers))
    numbers = np.asarray([week_numbers[int(week)] for week in found.week[keep]], dtype=np.int32)
    return Cohort(found.student_key[keep], numbers, np.stack([found.risk_score[keep], found.risk_60plus[keep]], axis=1))


async def read_served(
    context: JobContext,
    *,
    task: Task,
    through_week: int,
    days: int,
    version: ModelVersion,
    as_of: datetime,
) -> tuple[ServedScores, Students]:
    """Predictions of `version` and of every version that has been champion, made in time of the weeks in the last
    `days`, and their students' outcomes as known at `as_of`.
    """
    runs = MonitoringRepository(context.database)
    found = await runs.served_scores(
        from_week=through_week - days // _DAYS_PER_WEEK * _DAYS_PER_WEEK,
        to_week=through_week,
        as_of=as_of,
        versions={version, *await runs.champions()},
    )
    keys, position = np.unique(found.student_key, return_inverse=True)
    names = (each.name for each in score_tasks(task))
    scores = dict(zip(names, (found.risk_score, found.risk_60plus), strict=True))
    served = ServedScores(position.astype(np.int32), found.week, scores)
    return served, await _students(context, [StudentKey(int(key)) for key in keys], as_of=as_of)


async def _students(context: JobContext, keys: list[StudentKey], *, as_of: datetime) -> Students:
    persons = await context.reader.person_ids(keys)
    audit = AuditAttributeReader(context.database)
    return Students(
        np.unique(np.asarray(persons, dtype=np.str_), return_inverse=True)[1].astype(np.int32),
        await known_outcomes(context, keys, as_of=as_of),
        {name: await audit.attribute_of(keys, attribute=name) for name in AUDIT_ATTRIBUTES},
    )
