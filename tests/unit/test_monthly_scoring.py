"""When a month scores the district: always, or where the champion is another one than the district was scored with."""

import asyncio
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from rich.console import Console

from edupulse_ml.storage.monthly_runs import MonthlyRun
from jobs.month import steps
from jobs.month.request import CandidateOptions, MonthRequest, Rescore
from jobs.month.results import Gated, Scored
from jobs.month.running import Month
from jobs.month.work import MonthWork
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import NOW

RUN = MonthlyRun(uuid4(), date(2025, 6, 1), 1, NOW, {}, None, None)
OPTIONS = CandidateOptions("boosted", 1, 1, 0, 0, False, 10, True)
PROMOTED = Gated("promoted", "3", "2", "3", None)
REFUSED = Gated("refused", "3", "2", "2", None)


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch):
    """What the step leaves, given how the candidate fared, who is champion, and by whom the district was scored."""

    def run(rescore: Rescore, gated: Gated, *, champion: str | None, scored: str | None) -> Scored:
        class Scorings:
            def __init__(self, database: object) -> None:
                pass

            async def version_scored(self, *, before: datetime) -> str | None:
                assert before == RUN.started_at
                return scored

        async def score_district(*_: object, **__: object) -> SimpleNamespace:
            return SimpleNamespace(model_version=champion, scored=118, insufficient=12)

        monkeypatch.setattr(steps, "ScoringRunStore", Scorings)
        monkeypatch.setattr(steps, "score_district", score_district)
        context = SimpleNamespace(
            registry=SimpleNamespace(champion=lambda: champion), database=None, settings=None, clock=FixedClock(NOW)
        )
        request = MonthRequest(OPTIONS, rescore=rescore)
        work = MonthWork(cast("Any", context), request, cast("Any", None), Console(quiet=True))
        return asyncio.run(steps._score(work, Month(RUN, {"gate": gated})))

    return run


@pytest.mark.parametrize(
    ("gated", "champion", "scored"),
    [
        (PROMOTED, "3", "2"),
        (REFUSED, "1", "2"),  # somebody promoted or rolled back meanwhile
        (REFUSED, "2", None),  # the district was never scored
    ],
)
def test_another_champion_scores_whatever_became_of_the_candidate(score, gated, champion, scored) -> None:
    assert score("changed", gated, champion=champion, scored=scored) == Scored(champion, 118, 12)


@pytest.mark.parametrize(("champion", "scored"), [("2", "2"), (None, "2")])
def test_the_same_champion_is_left_out_and_so_is_none(score, champion, scored) -> None:
    left_out = score("changed", REFUSED, champion=champion, scored=scored)
    assert left_out == Scored(None)
    assert left_out.sentence == "Left out: the champion has not changed since the last scores."


def test_always_is_always(score) -> None:
    assert score("always", REFUSED, champion="2", scored="2") == Scored("2", 118, 12)
