"""What `edupulse import` says and does after the records are stored."""

import asyncio
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.ports import CacheSlot
from jobs import wiring
from jobs.import_records import import_csv
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import NOW
from tests.fakes.stores import FakeAnswerCache


class Loader:
    """Stores nothing; tells of one changed student once the session has ended."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @asynccontextmanager
    async def session(self, source, *, on_commit=None):
        yield self
        self.done.append("commit")
        if on_commit is not None:
            await on_commit(self.touched_students)
        self.done.append("statistics")

    touched_students = (StudentId("s-1"),)

    async def load(self, table_name, file_name, chunks):
        for _ in chunks:
            pass
        return SimpleNamespace(inserted=1, updated=0, unchanged=0, rejects=[])


@pytest.fixture
def place(monkeypatch, tmp_path: Path):
    async def ensure_district():
        return SimpleNamespace(timezone="America/New_York")

    place = SimpleNamespace(
        loader=Loader(), cache=FakeAnswerCache(), clock=FixedClock(NOW), ensure_district=ensure_district
    )

    @asynccontextmanager
    async def open_context(settings, *, clock=None):
        yield place

    monkeypatch.setattr(wiring, "open_context", open_context)
    place.folder = tmp_path / "district"
    place.folder.mkdir()
    (place.folder / "students.csv").write_text("student_id\ns-1\n")
    return place


def run(place, rejects_path: Path) -> str:
    shown = StringIO()
    console = Console(file=shown, width=120)
    try:
        asyncio.run(
            import_csv(Settings(home=place.folder.parent), place.folder, rejects_path=rejects_path, console=console)
        )
    finally:
        place.shown = shown.getvalue()
    return place.shown


def test_cached_answers_go_before_the_statistics_are_refreshed(place, tmp_path):
    drop = place.cache.drop

    async def noted_drop(students):
        place.loader.done.append("drop")
        await drop(students)

    place.cache.drop = noted_drop
    assert "students.csv" in run(place, tmp_path / "rejects.csv")
    assert place.loader.done == ["commit", "drop", "statistics"]
    (read,) = asyncio.run(place.cache.read([CacheSlot(StudentId("s-1"), "x")]))
    assert read.generation == 1


def test_without_redis_the_summary_is_shown_before_the_error(place, tmp_path):
    place.cache.switch.down = True
    with pytest.raises(DependencyDownError, match="The records are stored"):
        run(place, tmp_path / "rejects.csv")
    assert "students.csv" in place.shown
    assert (tmp_path / "rejects.csv").exists()
