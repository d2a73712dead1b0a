"""A registry that is down: what replicas serve meanwhile, and that one without a model takes no questions from others."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deployments.components import RegistryModels, StandardComponents
from deployments.messages import FetchedWindows, HopFailure, ServedModel
from deployments.model_slot import ModelSlot
from deployments.model_watch import ModelWatch
from deployments.peers import Peers
from deployments.risk_model import ModelMissingError, RiskModel
from deployments.settings import AppArgs, complete
from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import DependencyDownError, NotFoundError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.core.sequences import empty_windows
from edupulse_ml.registry.models import kept_copy
from tests.fakes.clocks import FixedClock
from tests.fakes.serving import CONTRACT, NOW, CountingMetrics, FakeComponents, FakeModels

DOWN = DependencyDownError("The registry does not answer.", dependency="model registry")
FETCHED = FetchedWindows((), empty_windows(0, window_weeks=CONTRACT.window_weeks), CONTRACT.fingerprint)


def served(version: str | None) -> ServedModel:
    return ServedModel("champion", ModelVersion(version) if version else None, None, None, datetime.now(UTC), None)


def slot_of(models: FakeModels) -> ModelSlot:
    return ModelSlot(models, contract=CONTRACT, clock=FixedClock(NOW), metrics=CountingMetrics())


def test_a_replica_that_begins_without_the_registry_serves_its_local_copy_and_says_so() -> None:
    slot = slot_of(FakeModels(error=DOWN, copy="2"))
    asyncio.run(slot.aim("champion"))
    assert (slot.served().version, slot.served().swap_failure) == ("2", "The registry does not answer.")


def test_a_live_model_is_not_exchanged_for_the_local_copy() -> None:
    async def scenario(models: FakeModels, slot: ModelSlot) -> None:
        await slot.aim("champion")
        models.error = DOWN
        await slot.refresh()

    models = FakeModels(copy="2")
    slot = slot_of(models)
    asyncio.run(scenario(models, slot))
    assert slot.served().version == "1"


def test_only_an_outage_is_bridged() -> None:
    slot = slot_of(FakeModels(error=NotFoundError("This district has no champion."), copy="2"))
    asyncio.run(slot.aim("champion"))
    assert slot.live is None


def test_the_local_copy_is_that_of_the_champion_fetched_last(tmp_path: Path) -> None:
    models = RegistryModels("sqlite://", DistrictId("demo"), tmp_path, "cpu", 1)
    folder = tmp_path / "edupulse-risk-demo"
    (folder / "3").mkdir(parents=True)
    assert models.kept("champion") is None
    for text, found in (("3", "3"), ("4", None), ("", None)):
        (folder / "last-champion").write_text(text)
        kept = models.kept("champion")
        assert (kept and kept.version) == found
    assert models.kept("challenger") is None
    version = models.kept("3")
    assert version is not None
    assert version.path == folder / "3"
    assert kept_copy(tmp_path, name="edupulse-risk-other") is None


def test_serving_does_not_wait_long_for_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    args = AppArgs(home=tmp_path, database_url="d", redis_url="r", mlflow_tracking_uri="http://mlflow")
    StandardComponents().model_source(complete(args, Settings()))
    patience = float(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])
    assert patience * (1 + int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])) <= args.model_poll_s


def test_a_replica_without_a_model_does_not_take_the_known_version_away() -> None:
    said = [served("1"), served(None), served("2"), DOWN, served(None)]

    async def ask() -> ServedModel:
        now = said.pop(0)
        if isinstance(now, Exception):
            raise now
        return now

    async def scenario() -> list[str]:
        watch = ModelWatch(ask, max_age_s=0.0)
        known = [await watch.version() for _ in range(3)]
        with pytest.raises(DependencyDownError, match="does not answer"):
            await watch.version()
        return [*known, await watch.version()]

    assert asyncio.run(scenario()) == ["1", "1", "2", "2"]


def test_without_any_known_version_the_reason_is_told() -> None:
    async def ask() -> ServedModel:
        return served(None)

    with pytest.raises(DependencyDownError, match="No model is served"):
        asyncio.run(ModelWatch(ask, max_age_s=0.0).version())


class FakePeers:
    """`Peers` that have a model, or none."""

    def __init__(self, *, have_one: bool) -> None:
        self.have_one = have_one
        self.asked = 0

    async def have_a_model(self) -> bool:
        self.asked += 1
        return self.have_one


class Replica:
    """A `RiskModel` beside others, made as Serve makes it."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, models: FakeModels, *, peers: bool) -> None:
        monkeypatch.setattr("deployments.risk_model.ModelMetrics", CountingMetrics)
        monkeypatch.setattr(FakeComponents, "model_source", lambda *_: models)
        kind: Any = RiskModel.func_or_class
        self.made = kind(AppArgs(model_poll_s=0.01), FakeComponents(home / "champion"))
        self.peers = self.made._peers = FakePeers(have_one=peers)

    async def begin(self) -> None:
        await self.made.reconfigure({"model": "champion"})


def test_beside_replicas_with_a_model_a_new_one_takes_no_question_before_it_has_one(tmp_path, monkeypatch) -> None:
    models = FakeModels(error=DOWN)

    async def scenario() -> tuple[bool, Any]:
        replica = Replica(tmp_path, monkeypatch, models, peers=True)
        beginning = asyncio.create_task(replica.begin())
        await asyncio.sleep(0.1)
        stayed_away = not beginning.done()
        models.error = None
        await asyncio.wait_for(beginning, 5)
        replica.made.check_health()
        return stayed_away, await replica.made.predict_many(FETCHED, ())

    stayed_away, answer = asyncio.run(scenario())
    assert stayed_away
    assert answer.model_version == "1"


def test_where_no_replica_has_a_model_it_stays_up_and_says_why(tmp_path, monkeypatch) -> None:
    async def scenario() -> Any:
        replica = Replica(tmp_path, monkeypatch, FakeModels(error=DOWN), peers=False)
        await asyncio.wait_for(replica.begin(), 5)
        await asyncio.sleep(0.1)
        replica.made.check_health()
        return await replica.made.predict_many(FETCHED, ())

    answer = asyncio.run(scenario())
    assert isinstance(answer, HopFailure)
    assert "The registry does not answer." in answer.message


def test_a_replica_that_runs_without_a_model_leaves_once_another_has_one(tmp_path, monkeypatch) -> None:
    models = FakeModels(error=DOWN)

    async def scenario() -> None:
        replica = Replica(tmp_path, monkeypatch, models, peers=False)
        await replica.begin()
        replica.peers.have_one = True
        await asyncio.sleep(0.1)
        with pytest.raises(ModelMissingError, match="The registry does not answer"):
            replica.made.check_health()
        models.error = None
        await asyncio.sleep(0.1)
        replica.made.check_health()

    asyncio.run(scenario())


def test_a_replica_with_a_model_never_asks_the_others(tmp_path, monkeypatch) -> None:
    async def scenario() -> int:
        replica = Replica(tmp_path, monkeypatch, FakeModels(), peers=True)
        await replica.begin()
        await asyncio.sleep(0.05)
        return replica.peers.asked

    assert asyncio.run(scenario()) == 0


@pytest.mark.parametrize(("said", "found"), [([False, True], True), ([False, DOWN], False), ([], False)])
def test_peers_are_all_replicas_of_the_deployment(said: list[Any], found: bool) -> None:
    class Handle:
        def broadcast(self, method: str, registry: str) -> "Handle":
            assert (method, registry) == ("has_model_of", "here")
            return self

        async def results_async(self, **_: object) -> list[Any]:
            if not said:
                raise RuntimeError("nobody there")
            return said

    peers = Peers("here")
    handle: Any = Handle()
    peers._handle = handle
    assert asyncio.run(peers.have_a_model()) is found


def test_outside_of_serve_there_are_no_peers() -> None:
    assert not asyncio.run(Peers("here").have_a_model())


def test_a_replica_of_another_registry_is_no_peer(tmp_path, monkeypatch) -> None:
    async def scenario() -> list[bool]:
        replica = Replica(tmp_path, monkeypatch, FakeModels(), peers=False)
        registry = replica.made._registry
        before = await replica.made.has_model_of(registry)
        await replica.begin()
        return [before, await replica.made.has_model_of(registry), await replica.made.has_model_of("elsewhere")]

    assert asyncio.run(scenario()) == [False, True, False]
