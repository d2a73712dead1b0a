"""What `edupulse tune` and `edupulse train` are told, before anything is read or trained."""

from datetime import UTC, datetime

import pytest

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import InvalidInputError, NotFoundError
from edupulse_ml.training.options import TrainingOptions
from jobs.fitting import worker_bounds
from jobs.tune import tune
from jobs.tuning_request import TuningRequest

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def test_a_resumed_search_remembers_its_request(tmp_path):
    request = TuningRequest(strategy="boosted", trials=7, windows=(8, 12), test_year=2024, allow_small=True)
    request.save(tmp_path / "search")
    assert TuningRequest.load(tmp_path / "search") == request
    with pytest.raises(NotFoundError, match="--resume"):
        TuningRequest.load(tmp_path)


def test_a_search_starts_from_what_training_would_do():
    request = TuningRequest(epochs=9, seed=4, seeds=2)
    start = request.start(Settings(window_weeks=12, objective_discipline_only=True), now=NOW)
    assert (start.strategy, start.seeds) == ("ensemble", 2)
    assert start.champion.training == TrainingOptions(window_weeks=12, epochs=9, seed=4)
    assert start.champion.contract.objective_discipline_only
    assert start.champion.policy_version == "2026-01-05.4"


def test_windows_that_are_no_numbers_are_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("EDUPULSE_HOME", str(tmp_path))
    with pytest.raises(InvalidInputError, match="whole weeks"):
        tune(windows="8,long")
    with pytest.raises(NotFoundError, match="no search"):
        tune(resume="never-begun")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "workers"), [("0", 0), ("2", 2), ("1:4", (1, 4)), ("3:3", (3, 3))])
def test_workers_are_a_number_or_bounds(text, workers):
    assert worker_bounds(text) == workers


@pytest.mark.parametrize("text", ["", "two", "-1", "4:1", "0:2", "1:", ":3", "1:2:3", "1.5"])
def test_other_workers_are_refused(text):
    with pytest.raises(InvalidInputError, match="such as 1:4"):
        worker_bounds(text)
