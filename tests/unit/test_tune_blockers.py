"""`edupulse tune` learns from no records that `edupulse train` would refuse."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.monitoring.findings import DataBlockedError
from edupulse_ml.training.search.searching import SearchPlace
from jobs import tune as command
from jobs.check_data import IgnoredBlockers
from jobs.tuning_request import TuningRequest
from tests.fakes.clocks import FixedClock

FLOOD = IgnoredBlockers(("volume.attendance_records",), "a flood closed East High")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the command asks for, given its options, and the search's name."""
    monkeypatch.setenv("EDUPULSE_HOME", str(tmp_path))
    asked: list[tuple[TuningRequest, str]] = []

    def tune_model(_: object, request: TuningRequest, *, place: SearchPlace, **__: Any) -> SimpleNamespace:
        asked.append((request, place.folder.name))
        request.save(place.folder)
        return SimpleNamespace(report=None)

    monkeypatch.setattr(command, "tune_model", tune_model)
    monkeypatch.setattr(command, "show_report", lambda *_: None)

    def call(**options: Any) -> tuple[TuningRequest, str]:
        command.tune(**options)
        return asked[-1]

    return call


def test_a_blocker_is_ignored_with_a_reason_which_a_resumed_search_remembers(asked) -> None:
    assert asked()[0].ignored == IgnoredBlockers()
    request, name = asked(ignore_blocker=[*FLOOD.names], reason=FLOOD.reason)
    assert request.ignored == FLOOD
    assert asked(resume=name)[0].ignored == FLOOD
    later = IgnoredBlockers(("late.grades",), "the term is over")
    assert asked(resume=name, ignore_blocker=[*later.names], reason=later.reason)[0].ignored == later
    with pytest.raises(InvalidInputError, match="needs a reason"):
        asked(ignore_blocker=["late.grades"])


def test_what_is_ignored_is_kept_with_the_run() -> None:
    kept = TuningRequest(ignored=FLOOD).parameters()
    assert kept["ignored_data_blockers"] == "volume.attendance_records: a flood closed East High"
    assert "ignored_data_blockers" not in TuningRequest().parameters()


def test_a_request_of_an_earlier_release_ignores_nothing(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"strategy": "boosted", "windows": [8]}')
    assert TuningRequest.load(tmp_path) == TuningRequest("boosted", windows=(8,))


def test_unfit_records_end_it_before_any_trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @asynccontextmanager
    async def open_context(*_: object, **__: object) -> AsyncGenerator[SimpleNamespace, None]:
        yield SimpleNamespace(database=None)

    async def nothing(*_: object, **__: object) -> None:
        return None

    async def refuse(*_: object, ignored: IgnoredBlockers, **__: object) -> None:
        raise DataBlockedError(f"ignored: {ignored.names}")

    monkeypatch.setattr(command, "open_context", open_context)
    monkeypatch.setattr(command, "materialise_pending", nothing)
    monkeypatch.setattr(command, "load_history", nothing)
    monkeypatch.setattr(command, "require_fit_data", refuse)
    with pytest.raises(DataBlockedError, match=r"ignored: \('volume.attendance_records',\)"):
        command.tune_model(
            Settings(home=tmp_path),
            TuningRequest(ignored=FLOOD),
            place=SearchPlace(tmp_path / "search"),
            clock=FixedClock(),
            console=Console(quiet=True),
        )
    assert not (tmp_path / "search").exists()
