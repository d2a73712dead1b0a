"""A district's list is imported, reaches the history as known at a moment, and opinions are reported; real stores."""

import asyncio
import json
import uuid
from datetime import date, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.feedback import OUTCOME_WORDS, FlagFeedback
from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import Coverage, Prediction, Reason
from edupulse_ml.core.weeks import day_number
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.feedback import FeedbackRepository
from edupulse_ml.storage.predictions import PostgresPredictionStore
from jobs.feedback_report import report_opinions
from jobs.history import load_history
from jobs.import_feedback import import_feedback
from jobs.materialise import materialise_district
from jobs.wiring import open_context
from tests.fakes.clocks import FixedClock
from tests.fakes.scored_district import ScoredDistrict, make_district
from tests.fakes.store_world import NOW

STUDENTS = 24
LIST = """\
key,kind,student_id,value,starts_on,ends_on,given_by,recorded_at
o1,outcome,s001,left,2025-05-20,,registrar,2025-05-21T09:00:00
i1,intervention,s002,tutoring,2025-03-03,2025-04-04,ms-r,2025-03-03T09:00:00
i2,intervention,s003,mentoring,2025-03-03,,ms-r,
x1,outcome,nobody,left,2025-05-20,,registrar,
o1,outcome,s001,stayed,2025-05-20,,registrar,
x2,outcome,s001,tutoring,2025-05-20,,registrar,
"""


@pytest.fixture
def district(database_urls, redis_server, tmp_path: Path) -> ScoredDistrict:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return make_district(database_urls, redis_server.url, uri=uri, home=tmp_path, students=STUDENTS)


def imported(district: ScoredDistrict, file: Path):
    rejects = file.with_name("rejects.csv")
    summary = asyncio.run(import_feedback(district.settings, file, rejects_path=rejects, clock=FixedClock(NOW)))
    return summary, rejects.read_text().splitlines()[1:]


def test_a_list_is_imported_once_and_its_bad_rows_are_listed(district: ScoredDistrict, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(LIST)
    summary, rejects = imported(district, file)
    assert (summary.read, summary.inserted, summary.unchanged, summary.rejected) == (6, 3, 0, 3)
    assert sorted(line.split(",")[1:3] for line in rejects) == [["5", "student_id"], ["6", "key"], ["7", "value"]]
    assert "nobody" not in "".join(rejects)
    again, _ = imported(district, file)
    assert (again.inserted, again.updated, again.unchanged, again.rejected) == (0, 0, 3, 3)
    assert district.world.values("SELECT count(*) FROM feedback") == [3]
    file.write_text("\n".join([*LIST.splitlines()[:2], "i2,intervention,s003,mentoring,2025-03-03,2025-05-01,ms-r,"]))
    asyncio.run(_later(district, file))
    assert district.world.values("SELECT count(*) FROM feedback WHERE superseded_at IS NOT NULL") == [1]


async def _later(district: ScoredDistrict, file: Path) -> None:
    clock = FixedClock(NOW + timedelta(days=1))
    summary = await import_feedback(district.settings, file, rejects_path=file.with_name("rejects.csv"), clock=clock)
    assert (summary.updated, summary.unchanged) == (1, 1)


def test_feedback_reaches_the_history_as_it_was_known(district: ScoredDistrict, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(LIST)
    imported(district, file)

    async def read(as_of):
        clock = FixedClock(NOW)
        async with open_context(district.settings, clock=clock) as context:
            keys = await context.reader.all_student_keys()
            names = await context.reader.student_ids(keys)
            return await load_history(context, as_of=as_of, on_share=lambda _: None), [str(name) for name in names]

    asyncio.run(materialise_district(district.settings, as_of=NOW, clock=FixedClock(NOW), console=Console(quiet=True)))
    history, names = asyncio.run(read(NOW))
    assert [names[who] for who in history.reported.student] == ["s001"]
    assert OUTCOME_WORDS[history.reported.outcome[0]] == "left"
    assert history.reported.day.tolist() == [day_number(date(2025, 5, 20))]
    assert sorted(names[who] for who in history.interventions.student) == ["s002", "s003"]
    before, _ = asyncio.run(read(NOW - timedelta(days=30)))
    assert not len(before.reported.student)
    assert [names[who] for who in before.interventions.student] == ["s002"], "i2 was not known yet"


def test_opinions_are_reported_by_reason_with_what_became_of_the_students(district: ScoredDistrict) -> None:
    with pytest.raises(NotEnoughDataError):
        asyncio.run(report_opinions(district.settings, days=365, clock=FixedClock(NOW)))
    names = [f"s{number:03d}" for number in range(STUDENTS)]
    predictions = [
        Prediction(
            PredictionId(str(uuid.UUID(int=number + 1))), StudentId(name), NOW, NOW, date(2025, 5, 26),
            ModelVersion("1"), "p", 0.5, 0.4, "high", Coverage(1, 1, 1, 20), (Reason("absences rising", "Missed 6.", 0.8),),
        )
        for number, name in enumerate(names)
    ]  # fmt: skip
    opinions = [
        FlagFeedback(
            key=f"f{number}",
            student_id=StudentId(name),
            given_by="ms-r",
            verdict="wrong" if number % 2 else "useful",
            prediction_id=predictions[number].prediction_id,
        )
        for number, name in enumerate(names)
    ]

    async def give(database: Database) -> None:
        store = PostgresPredictionStore(database)
        await store.save(predictions, actor="a", action="predict", request_ids=["r"] * STUDENTS)
        await FeedbackRepository(database, clock=FixedClock(NOW)).give(opinions, actor="a", request_id="r")

    district.world.run(give)
    report = asyncio.run(report_opinions(district.settings, days=365, clock=FixedClock(NOW)))
    assert report.n_opinions == STUDENTS
    assert report.verdicts == {"useful": 12, "not_useful": None, "wrong": 12, "already_known": None}
    (reason,) = [group for group in report.by_group if group.attribute == "reason"]
    assert (reason.group, reason.n_opinions, reason.dismissed) == ("absences rising", STUDENTS, 0.5)
    assert [answer.left for answer in report.later_left] == [None, None], "half a year has not passed"
    assert "s001" not in json.dumps(report.verdicts)
