"""What was served is judged by the outcomes that training learns from; on real PostgreSQL."""

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np

from edupulse_ml.core.feedback import OutcomeFeedback
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.outcomes import risk_task, task_labels
from edupulse_ml.core.weeks import day_number
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.feedback import FeedbackRepository
from edupulse_ml.storage.predictions import PostgresPredictionStore
from edupulse_ml.storage.records import PostgresRecordReader
from jobs.watching.served import read_served
from tests.fakes.predictions import prediction
from tests.fakes.store_world import SCHOOLS, World

LOOK = datetime(2025, 12, 1, 12, tzinfo=UTC)
WEEK = day_number(date(2025, 2, 24))
ENROLLED = {"school_id": "north", "grade_level": 12, "entry_date": "2024-08-26"}
ENDS: dict[str, dict[str, object]] = {
    "graduate": {"exit_date": "2025-05-30", "exit_code": "graduated"},
    "reported": {},
    "there": {},
}


def test_what_people_reported_and_who_graduated_is_known(database_urls) -> None:
    world = World(database_urls)
    world.load({"schools": SCHOOLS, "students": [{"student_id": name} for name in ENDS]})
    world.load({"enrollments": [{"student_id": name, **ENROLLED, **end} for name, end in ENDS.items()]})
    left = OutcomeFeedback(
        key="o1", student_id=StudentId("reported"), given_by="registrar", outcome="left", happened_on=date(2025, 4, 1)
    )
    task = risk_task(180)

    async def work(database: Database) -> dict[str, int]:
        made = [prediction(number, student=name) for number, name in enumerate(ENDS)]
        await PostgresPredictionStore(database).save(made, actor="a", action="predict", request_ids=["r"] * len(made))
        await FeedbackRepository(database, clock=world.clock).give([left], actor="a", request_id="r")
        context: Any = SimpleNamespace(database=database, reader=PostgresRecordReader(database))
        served, students = await read_served(
            context, task=task, through_week=WEEK, days=7, version=ModelVersion("7"), as_of=LOOK
        )
        cutoff = (served.week + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)
        label = task_labels(students.outcomes.select(served.student), cutoff_day=cutoff, task=task)
        keys = await context.reader.find_students([StudentId(name) for name in ENDS])
        order = sorted(keys, key=lambda name: keys[name])
        return {str(order[who]): int(answer) for who, answer in zip(served.student, label, strict=True)}

    assert world.run(work) == {"graduate": 0, "reported": 1, "there": 0}
