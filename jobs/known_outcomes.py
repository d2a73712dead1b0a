"""What became of students, as it was known at a moment: the one answer that every report and watch judges by."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from edupulse_ml.core.ids import StudentKey
from edupulse_ml.core.outcomes import Outcomes
from edupulse_ml.core.weeks import local_day
from edupulse_ml.evaluation.reported_outcomes import merged_outcomes
from edupulse_ml.storage.training_feedback import FeedbackReader
from jobs.wiring import JobContext


async def known_outcomes(context: JobContext, keys: Sequence[StudentKey], *, as_of: datetime) -> Outcomes:
    """Outcomes by the registry's exits and by what people reported, as known at `as_of`; entry i is of keys[i].

    Raises:
        ValueError: a key is named twice.
        DependencyDownError: PostgreSQL does not answer.
    """
    zone = ZoneInfo((await context.reader.district()).timezone)
    return merged_outcomes(
        await context.reader.exits_of(keys, as_of=as_of),
        await FeedbackReader(context.database).outcomes_of(keys, as_of=as_of),
        as_of_day=local_day(as_of, zone),
        n_students=len(keys),
    ).outcomes
