from dataclasses import replace
from datetime import timedelta

import pytest

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.storage.predictions import PostgresPredictionStore
from tests.fakes.predictions import MOMENT, insufficient, prediction
from tests.fakes.store_world import SCHOOLS, STUDENTS, World
from tests.fakes.stores import FakePredictionStore


class Fake:
    """Runs work against the fake."""

    def __init__(self) -> None:
        self.store = FakePredictionStore(frozenset({StudentId("s1"), StudentId("s2")}))

    def run(self, work):
        import asyncio

        return asyncio.run(work(self.store))

    def audited(self) -> dict[str, str | None]:
        """Student by request id."""
        return {entry.request_id: entry.student_id for entry in self.store.audit_log}


class Real:
    """Runs work against PostgreSQL, on a pool of its own each time."""

    def __init__(self, urls) -> None:
        self.world = World(urls)
        self.world.load({"schools": SCHOOLS, "students": STUDENTS})

    def run(self, work):
        return self.world.run(lambda database: work(PostgresPredictionStore(database)))

    def audited(self) -> dict[str, str | None]:
        """Student by request id."""
        pairs = self.world.values(
            "SELECT request_id || '=' || coalesce(student_id, '') FROM audit_log LEFT JOIN students USING (student_key)"
        )
        return {request: student or None for request, student in (pair.split("=") for pair in pairs)}


@pytest.fixture(params=["fake", "postgresql"])
def side(request):
    return Fake() if request.param == "fake" else Real(request.getfixturevalue("database_urls"))


def save(side, *answers):
    side.run(lambda store: store.save(answers, actor="a", action="predict", request_ids=["r"] * len(answers)))


def history(side, student: str = "s1", limit: int = 10):
    return list(side.run(lambda store: store.history(StudentId(student), limit=limit)))


def test_what_was_saved_comes_back_equal(side):
    unexplained = prediction(2, reasons=None, protective_factors=None, attention_weeks=())
    for saved in (prediction(1), replace(unexplained, created_at=MOMENT + timedelta(seconds=1))):
        save(side, saved)
        assert history(side, limit=1) == [saved]


def test_newest_first_and_no_more_than_asked(side):
    saved = [prediction(number, created_at=MOMENT + timedelta(minutes=number)) for number in (2, 1, 3)]
    save(side, *saved)
    assert [item.prediction_id[-1] for item in history(side)] == ["3", "2", "1"]
    assert [item.prediction_id[-1] for item in history(side, limit=2)] == ["3", "2"]


def test_a_student_never_scored_has_an_empty_history(side):
    save(side, prediction(1), insufficient())
    assert history(side, "s2") == []


def test_a_cached_answer_saved_again_is_stored_once(side):
    save(side, prediction(1))
    save(side, prediction(1))
    assert len(history(side)) == 1


def test_unknown_students(side):
    with pytest.raises(NotFoundError):
        history(side, "ghost")
    with pytest.raises(NotFoundError):
        save(side, prediction(1), prediction(2, student="ghost"))
    assert history(side) == []


def test_no_answers_are_no_work(side):
    save(side)


def test_every_answer_needs_its_request(side):
    with pytest.raises(ValueError, match="r"):
        side.run(lambda store: store.save([prediction(1)], actor="a", action="p", request_ids=[]))
    assert history(side) == []


def test_an_event_is_audited_with_and_without_a_student(side):
    for student in ("s1", "ghost", None):
        event = {"actor": "a", "action": "history", "outcome": "read", "request_id": f"of {student}"}
        side.run(lambda store, e=event, s=student: store.audit(**e, student_id=s and StudentId(s)))
    assert side.audited() == {"of s1": "s1", "of ghost": None, "of None": None}
