"""What `edupulse score` shows where."""

from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import Coverage, Prediction
from jobs import score as command
from jobs.bulk.score_runs import DistrictScores, ScoreRequest

NOW = datetime(2026, 3, 2, tzinfo=UTC)
PREDICTION = Prediction(
    PredictionId("p"), StudentId("S000123"), NOW, NOW, date(2026, 2, 23), ModelVersion("1"), "1", 0.5, 0.2, "high",
    Coverage(1.0, 1.0, 1.0, 20),
)  # fmt: skip


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, **options: Any) -> str:
    async def run(settings: object, request: ScoreRequest, *, clock: object, console: object) -> DistrictScores:
        return DistrictScores([PREDICTION][: request.top], 3, 1, ModelVersion("1"))

    out = StringIO()
    monkeypatch.setattr(command, "run_scoring", run)
    monkeypatch.setattr(command, "Console", lambda: Console(file=out, force_terminal=terminal, width=120))
    command.score(**options)
    return out.getvalue()


def test_a_terminal_shows_the_students(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "S000123" in shown(monkeypatch, terminal=True)


def test_a_log_gets_counts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(monkeypatch, terminal=False)
    assert "S000123" not in told
    assert "3 students scored" in told


def test_who_asks_for_the_list_gets_it_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "S000123" in shown(monkeypatch, terminal=False, top=5)
