"""The candidate of a month is registered and decided on once, against a real PostgreSQL and a real MLflow."""

import asyncio
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from rich.console import Console

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.registry.tracking import tracked_run
from edupulse_ml.storage.monthly_runs import MonthlyRun
from edupulse_ml.storage.promotions import PromotionRepository
from jobs.month.candidate import MONTHLY_RUN, read_evaluation, train_candidate
from jobs.month.gate import decide
from jobs.month.request import CandidateOptions, MonthRequest
from jobs.month.results import Gated, Trained
from jobs.month.running import Month
from jobs.month.work import MonthWork
from jobs.promotion.deciding import PromotionPlaces, roll_back
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import NOW
from tests.integration.test_promotion import POLICY, District, judge

RUN = MonthlyRun(uuid4(), date(2025, 6, 1), 1, NOW, {}, None, None)
OPTIONS = CandidateOptions("boosted", 1, 1, 0, 0, False, 10, True)


@pytest.fixture
def district(database_urls, tmp_path: Path) -> District:
    return District(database_urls, tmp_path)


@dataclass
class Judged:
    """A judge that counts how often it is asked."""

    passes: bool = True
    asked: int = 0

    async def __call__(self, candidate: ModelVersion, champion: ModelVersion | None):
        self.asked += 1
        return await judge(passes=self.passes)(candidate, champion)


def decided(district: District, version: str, asked: Judged) -> Gated:
    return district.run(lambda places: decide(places, ModelVersion(version), policy=POLICY, judge=asked))


def moves(district: District) -> list[tuple[str, str, bool]]:
    async def read(places: PromotionPlaces):
        return await PromotionRepository(places.database, clock=places.clock).latest(limit=20)

    return [(one.kind, one.to_version, one.moved_at is not None) for one in district.run(read)]


def test_the_first_candidate_is_installed_and_later_ones_are_judged(district: District) -> None:
    asked = Judged()
    assert decided(district, "1", asked) == Gated("first", "1", None, "1", None)
    assert asked.asked == 0
    promoted = decided(district, "2", asked)
    assert (promoted.kind, promoted.champion_before, promoted.champion) == ("promoted", "1", "2")
    refused = decided(district, "3", Judged(passes=False))
    assert (refused.kind, refused.champion_before, refused.champion) == ("refused", "2", "2")
    assert refused.verdict is not None
    assert [rule.name for rule in refused.verdict.failed] == ["parity of the served engine"]


def test_what_was_decided_is_found_again_and_not_decided_twice(district: District) -> None:
    decided(district, "1", Judged())
    first = [decided(district, "2", Judged()), decided(district, "3", Judged(passes=False))]
    before = moves(district)
    never = Judged()
    assert [decided(district, version, never) for version in "23"] == first
    assert decided(district, "1", never).kind == "first"
    assert never.asked == 0
    assert moves(district) == before


def test_killed_after_the_champion_moved_the_move_is_noted_and_nothing_is_judged_again(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided(district, "1", Judged())

    async def killed(self: object, promotion_id: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PromotionRepository, "moved", killed)
        with pytest.raises(KeyboardInterrupt):
            decided(district, "2", Judged())
    assert district.registry.champion() == "2"
    assert moves(district)[0] == ("promotion", "2", False)

    never = Judged(passes=False)
    found = decided(district, "2", never)
    assert (found.kind, found.champion_before, found.champion, never.asked) == ("promoted", "1", "2", 0)
    assert moves(district) == [("promotion", "2", True), ("promotion", "1", True)]


def test_killed_before_the_champion_moved_the_candidate_is_judged_again(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided(district, "1", Judged())

    def killed(version: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(district.registry, "set_champion", killed)
        with pytest.raises(KeyboardInterrupt):
            decided(district, "2", Judged())
    assert district.registry.champion() == "1"

    asked = Judged()
    assert decided(district, "2", asked).kind == "promoted"
    assert asked.asked == 1
    assert district.registry.champion() == "2"


def test_a_champion_that_was_withdrawn_meanwhile_is_not_promoted_again(district: District) -> None:
    decided(district, "1", Judged())
    decided(district, "2", Judged())
    district.run(lambda places: roll_back(places, by="bob", reason="complaints", require_servable=lambda _: None))
    found = decided(district, "2", Judged())
    assert (found.kind, found.champion) == ("promoted", "1")
    assert district.registry.champion() == "1"


def month_work(district: District) -> MonthWork:
    """As far as the candidate's steps look at it."""
    context = SimpleNamespace(registry=district.registry, clock=FixedClock(NOW), settings=None)
    request = MonthRequest(OPTIONS)
    return MonthWork(cast("Any", context), request, cast("Any", None), Console(quiet=True))


def test_a_version_that_was_registered_and_not_noted_is_found_by_its_run(district: District, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with tracked_run(uri, experiment="e", run_name="r", artifact_root=tmp_path / "runs", clock=FixedClock(NOW)) as run:
        version = district.registry.register(tmp_path / "artifact", run, tags={MONTHLY_RUN: str(RUN.run_id)})
    found = asyncio.run(train_candidate(month_work(district), Month(RUN)))
    assert found == Trained(version, "boosted", found_again=True)
    other = replace(RUN, run_id=uuid4())
    assert district.registry.find(tag=MONTHLY_RUN, value=str(other.run_id)) is None


def test_a_candidate_without_its_report_is_told_of(district: District) -> None:
    month = Month(RUN, {"train": Trained("1", "boosted")})
    with pytest.raises(NotFoundError, match="has no evaluation"):
        asyncio.run(read_evaluation(month_work(district), month))
