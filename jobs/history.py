"""Reads a district's whole history for training and evaluation, in chunks of students."""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.sequences import concatenate_blocks
from edupulse_ml.core.tables import AUDIT_ATTRIBUTES
from edupulse_ml.core.weeks import last_closed_week, local_day
from edupulse_ml.storage.records import AuditAttributeReader
from edupulse_ml.storage.training_feedback import FeedbackReader
from jobs.experiment import History
from jobs.wiring import JobContext

_STUDENTS_PER_CHUNK: Final = 2000
_FIRST_WEEK: Final = 0


async def load_history(context: JobContext, *, as_of: datetime, on_share: Callable[[float], None]) -> History:
    """Every materialised student-week closed by `as_of`, the exits and the feedback known then, and the attributes that the fairness
    audit judges by. `on_share` is told the share read.

    Raises:
        NotEnoughDataError: nothing has been materialised yet.
    """
    district = await context.reader.district()
    zone = ZoneInfo(district.timezone)
    keys = await context.reader.all_student_keys()
    blocks = []
    for at in range(0, len(keys), _STUDENTS_PER_CHUNK):
        chunk = keys[at : at + _STUDENTS_PER_CHUNK]
        blocks.append(
            await context.features.read_history(
                chunk,
                from_week=_FIRST_WEEK,
                to_week=last_closed_week(as_of, zone),
                contract=context.contract,
            )
        )
        on_share(min(1.0, (at + len(chunk)) / len(keys)))
    if not any(block.n_steps.any() for block in blocks):
        msg = (
            f"District {district.district_id} has no materialised student-week: run `edupulse import`, then "
            "`edupulse materialise`."
        )
        raise NotEnoughDataError(msg)
    audit = AuditAttributeReader(context.database)
    feedback = FeedbackReader(context.database)
    return History(
        block=concatenate_blocks(blocks),
        exits=await context.reader.exits_of(keys, as_of=as_of),
        person_ids=tuple(await context.reader.person_ids(keys)),
        known_day=local_day(as_of, zone),
        reported=await feedback.outcomes_of(keys, as_of=as_of),
        interventions=await feedback.interventions_of(keys, as_of=as_of),
        audit={name: await audit.attribute_of(keys, attribute=name) for name in AUDIT_ATTRIBUTES},
    )
