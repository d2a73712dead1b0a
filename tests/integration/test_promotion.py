"""Deciding, moving and returning, against a real PostgreSQL and a real MLflow."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edupulse_ml.core.errors import ConflictError, ContractMismatchError, InvalidInputError, NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation.gate import Verdict, judge_candidate
from edupulse_ml.evaluation.gate_evidence import Parity
from edupulse_ml.evaluation.promotion_policy import load_policy
from edupulse_ml.registry.models import Alias, ModelRegistry, model_name
from edupulse_ml.registry.tracking import tracked_run
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.promotions import PromotionRepository, PromotionUnderWayError
from jobs.promotion.deciding import (
    Override,
    PromotionOutcome,
    PromotionPlaces,
    PromotionRequest,
    install_first,
    promote_if_better,
    refusal,
    roll_back,
)
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import NOW, SCHOOLS, STUDENTS, World
from tests.unit.test_gate import GOOD

POLICY = load_policy()
REQUEST = PromotionRequest(POLICY, by="ada")
CARD = "<html><body>card</body></html>"


class District:
    """A registry with three versions and an empty database."""

    def __init__(self, urls, folder: Path) -> None:
        self.clock = FixedClock(NOW)
        self.world = World(urls)
        self.world.load({"schools": SCHOOLS, "students": STUDENTS})
        uri = f"sqlite:///{folder}/mlflow.db"
        self.registry = ModelRegistry(uri, name=model_name(self.world.district), cache_dir=folder / "cache")
        (folder / "artifact").mkdir()
        (folder / "artifact" / "weights").write_text("w")
        for _ in range(3):
            with tracked_run(
                uri, experiment="e", run_name="r", artifact_root=folder / "runs", clock=FixedClock(NOW)
            ) as run:
                version = self.registry.register(folder / "artifact", run, tags={})
            self.registry.write_text(version, "model-card.html", CARD)

    def run(self, work):
        self.clock.advance(timedelta(hours=1))

        async def inside(database: Database):
            return await work(PromotionPlaces(self.clock, database, self.registry))

        return self.world.run(inside)

    def promote(self, version: str, *, passes: bool = True, override: Override | None = None) -> PromotionOutcome:
        request = replace(REQUEST, version=ModelVersion(version), override=override)
        return self.run(lambda context: promote_if_better(context, request, judge=judge(passes=passes)))

    def roll_back(self, *, require_servable=lambda _: None) -> tuple[str, str]:
        return self.run(
            lambda context: roll_back(context, by="bob", reason="complaints", require_servable=require_servable)
        )

    def decisions(self) -> list[tuple]:
        async def work(context: PromotionPlaces):
            return await PromotionRepository(context.database, clock=context.clock).latest(limit=20)

        return [(d.kind, d.decided_by, d.from_version, d.to_version) for d in self.run(work)]


def judge(*, passes: bool = True):
    async def judged(candidate: ModelVersion, champion: ModelVersion | None) -> Verdict:
        parity = GOOD.parity if passes else Parity("onnx", "torch", 0.5, 0.5)
        return judge_candidate(replace(GOOD, candidate=candidate, champion=champion, parity=parity), POLICY)

    return judged


@pytest.fixture
def district(database_urls, tmp_path: Path) -> District:
    return District(database_urls, tmp_path)


def test_a_candidate_that_passes_becomes_the_champion_and_says_so(district: District) -> None:
    outcome = district.promote("1")
    assert (outcome.kind, outcome.promoted, outcome.champion_before) == ("promotion", True, None)
    outcome = district.promote("2")
    assert outcome.champion_before == "1"
    assert (district.registry.champion(), district.registry.alias("previous")) == ("2", "1")
    assert district.decisions()[0] == ("promotion", "ada", "1", "2")
    tags = district.registry.describe(ModelVersion("2")).tags
    assert (tags["promotion.kind"], tags["promotion.by"], tags["promotion.failed"]) == ("promotion", "ada", "")
    assert "Promoted on" in district.registry.read_text(ModelVersion("2"), "model-card.html")
    assert '"candidate": "2"' in district.registry.read_text(ModelVersion("2"), "promotion/verdict.json")
    assert (
        district.world.values("SELECT actor || ' ' || action || ' ' || outcome FROM audit_log")
        == ["ada promote promotion"] * 2
    )


def test_a_refusal_moves_nothing_and_lists_each_failed_rule(district: District) -> None:
    district.promote("1")
    outcome = district.promote("2", passes=False)
    assert (outcome.kind, outcome.promoted) == ("refusal", False)
    assert district.registry.champion() == "1"
    assert district.decisions()[0] == ("refusal", "ada", "1", "2")
    error = refusal(outcome.verdict)
    assert error.exit_code == 3
    assert "- Served by onnx and by torch" in str(error)
    assert "5.0e-01" in str(error)
    assert "Refused on" in district.registry.read_text(ModelVersion("2"), "model-card.html")


def test_an_override_is_kept_with_name_and_reason(district: District) -> None:
    district.promote("1")
    outcome = district.promote("2", passes=False, override=Override("Dr Lovelace", "the feed of version 1 is gone"))
    assert outcome.kind == "override"
    assert district.registry.champion() == "2"
    assert district.decisions()[0] == ("override", "Dr Lovelace", "1", "2")
    tags = district.registry.describe(ModelVersion("2")).tags
    assert tags["promotion.reason"] == "the feed of version 1 is gone"
    assert tags["promotion.failed"] == "parity of the served engine"
    assert "by Dr Lovelace: the feed of version 1 is gone" in district.registry.read_text(
        ModelVersion("2"), "model-card.html"
    )
    assert district.world.values("SELECT actor || ': ' || reason FROM audit_log WHERE outcome = 'override'") == [
        "Dr Lovelace: the feed of version 1 is gone"
    ]


def test_an_override_that_was_not_needed_is_a_promotion(district: District) -> None:
    assert district.promote("1", override=Override("ada", "in case")).kind == "promotion"


@pytest.mark.parametrize("override", [Override("", "why"), Override("ada", " ")])
def test_nobody_overrides_namelessly_or_without_a_reason(district: District, override: Override) -> None:
    with pytest.raises(InvalidInputError):
        district.promote("1", passes=False, override=override)
    assert district.decisions() == []


def test_rolling_back_returns_step_by_step_and_never_to_what_was_withdrawn(district: District) -> None:
    for version in "123":
        district.promote(version)
    assert district.roll_back() == ("3", "2")
    assert (district.registry.champion(), district.registry.alias("previous")) == ("2", "1")
    assert district.roll_back() == ("2", "1")
    assert (district.registry.champion(), district.registry.alias("previous")) == ("1", None)
    with pytest.raises(NotFoundError, match="no champion before"):
        district.roll_back()
    assert [kind for kind, *_ in district.decisions()].count("rollback") == 2
    assert "Withdrawn on" in district.registry.read_text(ModelVersion("3"), "model-card.html")
    kept = district.world.values("SELECT actor || ': ' || reason FROM audit_log WHERE outcome = 'rollback'")
    assert kept == ["bob: complaints"] * 2


def test_a_model_that_serving_would_refuse_is_not_rolled_back_to(district: District) -> None:
    for version in "12":
        district.promote(version)

    def refuse(version: ModelVersion) -> None:
        raise ContractMismatchError(f"Version {version} reads another window.")

    with pytest.raises(ContractMismatchError, match="Version 1 reads"):
        district.roll_back(require_servable=refuse)
    assert district.registry.champion() == "2"
    assert [kind for kind, *_ in district.decisions()] == ["promotion"] * 2


@pytest.mark.parametrize("killed_in", ["moved", "note_decision"])
def test_what_a_killed_promotion_left_undone_is_done_by_the_next_call(
    district: District, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    district.promote("1")

    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if killed_in == "moved":
            patch.setattr(PromotionRepository, "moved", killed)
        else:
            patch.setattr("jobs.promotion.deciding.note_decision", killed)
        with pytest.raises(KeyboardInterrupt):
            district.promote("2", passes=False, override=Override("eve", "the old feed has ended"))
    assert district.registry.champion() == "2"
    assert "promotion.kind" not in district.registry.describe(ModelVersion("2")).tags
    with pytest.raises(ConflictError, match="champion already"):
        district.promote("2")
    assert district.world.values("SELECT count(*) FROM promotions WHERE moved_at IS NULL") == [0]
    assert district.registry.describe(ModelVersion("2")).tags["promotion.reason"] == "the old feed has ended"
    assert "by eve" in district.registry.read_text(ModelVersion("2"), "model-card.html")


def test_rolling_back_never_returns_to_a_version_that_was_withdrawn_though_it_stood_before_too(
    district: District,
) -> None:
    for version in "121":
        district.promote(version)
    assert district.roll_back() == ("1", "2")
    assert (district.registry.champion(), district.registry.alias("previous")) == ("2", None)
    with pytest.raises(NotFoundError, match="no champion before"):
        district.roll_back()
    assert district.registry.champion() == "2"
    # Judged anew, it may be the champion again, and be returned to.
    district.promote("1")
    district.promote("3")
    assert district.roll_back() == ("3", "1")
    assert district.registry.alias("previous") == "2"


def test_killed_between_the_two_aliases_a_promotion_leaves_a_way_back(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in "12":
        district.promote(version)
    set_alias = ModelRegistry.set_alias

    def killed(self: ModelRegistry, alias: Alias, version: ModelVersion | None) -> None:
        if alias == "champion":
            raise KeyboardInterrupt
        set_alias(self, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "set_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            district.promote("3")
    assert (district.registry.champion(), district.registry.alias("previous")) == ("2", "2")
    assert district.roll_back() == ("2", "1")
    assert (district.registry.champion(), district.registry.alias("previous")) == ("1", None)


def test_without_the_alias_the_promotions_kept_say_whom_to_return_to(district: District) -> None:
    for version in "123":
        district.promote(version)
    district.registry.set_alias("previous", None)
    assert district.roll_back() == ("3", "2")


def test_of_two_at_once_one_wins_and_the_other_is_told(district: District) -> None:
    async def work(context: PromotionPlaces):
        judging, done = asyncio.Event(), asyncio.Event()

        async def slow(candidate: ModelVersion, champion: ModelVersion | None) -> Verdict:
            judging.set()
            await done.wait()
            return await judge()(candidate, champion)

        first = asyncio.create_task(promote_if_better(context, replace(REQUEST, version=ModelVersion("1")), judge=slow))
        await judging.wait()
        with pytest.raises(PromotionUnderWayError):
            await promote_if_better(context, replace(REQUEST, version=ModelVersion("2")), judge=judge())
        with pytest.raises(PromotionUnderWayError):
            await roll_back(context, by="bob", reason="hurry", require_servable=lambda _: None)
        done.set()
        return await first

    assert district.run(work).kind == "promotion"
    assert district.registry.champion() == "1"


def test_a_champion_that_changes_meanwhile_voids_the_verdict(district: District) -> None:
    district.promote("1")

    async def meanwhile(candidate: ModelVersion, champion: ModelVersion | None) -> Verdict:
        district.registry.set_champion(ModelVersion("3"))
        return await judge()(candidate, champion)

    request = replace(REQUEST, version=ModelVersion("2"))
    with pytest.raises(ConflictError, match="changed while"):
        district.run(lambda context: promote_if_better(context, request, judge=meanwhile))
    assert district.registry.champion() == "3"


def test_who_is_killed_while_judging_leaves_everything_as_it_was(district: District) -> None:
    district.promote("1")

    async def killed(candidate: ModelVersion, champion: ModelVersion | None) -> Verdict:
        raise KeyboardInterrupt

    request = replace(REQUEST, version=ModelVersion("2"))
    with pytest.raises(KeyboardInterrupt):
        district.run(lambda context: promote_if_better(context, request, judge=killed))
    assert district.promote("2").promoted


def test_the_first_model_of_a_district_is_installed_and_never_a_second(district: District) -> None:
    def install(version: str) -> bool:
        return district.run(lambda places: install_first(places, ModelVersion(version), by="edupulse train"))

    assert install("1") is True
    assert install("2") is False
    assert district.registry.champion() == "1"
    assert district.decisions() == [("promotion", "edupulse train", None, "1")]


def test_the_newest_version_is_judged_where_none_is_named(district: District) -> None:
    outcome = district.run(lambda context: promote_if_better(context, REQUEST, judge=judge()))
    assert outcome.candidate == "3"
    with pytest.raises(ConflictError, match="champion already"):
        district.run(lambda context: promote_if_better(context, REQUEST, judge=judge()))
    with pytest.raises(NotFoundError, match="the versions are 1, 2, 3"):
        district.promote("44")
