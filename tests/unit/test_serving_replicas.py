"""What a replica asks before it calls itself ready, which device it takes, and how it logs."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from deployments import components
from deployments.components import RegistryModels, StandardComponents
from deployments.feature_fetcher import FeatureFetcher
from deployments.messages import HopFailure, ServedModel
from deployments.model_slot import ModelFiles
from deployments.moments import DistrictUnavailableError, DistrictZone
from deployments.readiness import ReplicaReadiness
from deployments.settings import AppArgs
from edupulse_ml.core.errors import DependencyDownError, NotFoundError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.core.ports import District
from tests.fakes.serving import FakeComponents, FakeDistrict


async def fine() -> None: ...


async def served() -> ServedModel:
    return ServedModel("champion", ModelVersion("1"), "p", "f", None, None)


def missing(fetcher, database=fine) -> list[tuple[str, str]]:
    readiness = ReplicaReadiness(database=database, cache=fine, fetcher=fetcher, served=served, timeout_s=0.05)
    return [(item.name, item.message) for item in asyncio.run(readiness.missing())]


def test_readiness_asks_the_feature_fetcher() -> None:
    async def no_district() -> None:
        raise DistrictUnavailableError("District x does not exist.", dependency="district")

    async def hangs() -> None:
        await asyncio.sleep(30)

    assert missing(fine) == []
    assert missing(no_district) == [("district", "District x does not exist.")]
    assert [name for name, _ in missing(hangs)] == ["ray serve"]


def test_a_server_that_two_parts_miss_is_named_once() -> None:
    async def down() -> None:
        raise DependencyDownError("PostgreSQL does not answer.", dependency="postgresql")

    assert missing(down, database=down) == [("postgresql", "PostgreSQL does not answer.")]


class Fetcher:
    """A feature fetcher over the fakes, made as Serve makes it; `district` is what its stores read."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.district = FakeDistrict()
        monkeypatch.setattr("tests.fakes.serving.FakeDistrict", lambda: self.district)
        monkeypatch.setattr("deployments.feature_fetcher.FetcherMetrics", lambda: None)
        monkeypatch.setattr("deployments.feature_fetcher.PING_TIMEOUT_S", 0.05)
        kind: Any = FeatureFetcher.func_or_class
        silent = type("Silent", (kind,), {"__del__": lambda _: None})  # nobody awaits the real one here
        self.replica = silent.__new__(silent)
        asyncio.run(self.replica.__init__(AppArgs(), FakeComponents(tmp_path / "champion")))

    def ping(self) -> HopFailure | None:
        return asyncio.run(self.replica.ping())


def test_the_fetcher_answers_a_ping_only_where_it_reads_the_district(tmp_path: Path, monkeypatch) -> None:
    fetcher = Fetcher(tmp_path, monkeypatch)
    assert fetcher.ping() is None

    async def nothing() -> District:
        raise NotFoundError("District demo does not exist in this database.")

    with monkeypatch.context() as patch:
        patch.setattr(fetcher.district.reader, "district", nothing)
        assert fetcher.ping() == HopFailure("District demo does not exist in this database.", "district")
    with monkeypatch.context() as patch:
        patch.setattr(fetcher.district.reader, "district", lambda: asyncio.sleep(30))
        failure = fetcher.ping()
        assert failure is not None
        assert failure.dependency == "postgresql"
    fetcher.district.take_postgresql_down()
    assert fetcher.ping() == HopFailure("postgresql did not answer", "postgresql")


def test_a_missing_district_is_not_taken_for_a_missing_student() -> None:
    district = FakeDistrict()

    async def nothing() -> District:
        raise NotFoundError("District demo does not exist in this database.")

    district.reader.district = nothing
    with pytest.raises(DistrictUnavailableError, match="District demo") as error:
        asyncio.run(DistrictZone(district.reader)())
    assert error.value.http_status == 503


@pytest.mark.parametrize(
    ("device", "granted", "used"),
    [("auto", ["0"], "cuda"), ("auto", [], "cpu"), ("cpu", ["0"], "cpu"), ("cuda", [], "cuda")],
)
def test_auto_takes_a_gpu_only_where_ray_granted_one(monkeypatch, device, granted: list[str], used: str) -> None:
    import ray
    import torch

    loaded: list[str] = []

    def load(_: Path, *, engine: str, threads: int, device: str) -> SimpleNamespace:
        loaded.append(device)
        return SimpleNamespace(contract=None, policy=None, score=None)

    context = SimpleNamespace(get_accelerator_ids=lambda: {"GPU": granted})
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("edupulse_ml.models.strategies.load_strategy", load)
    monkeypatch.setattr("edupulse_ml.explain.strategies.explain_model", lambda _: None)
    models = RegistryModels("sqlite://", DistrictId("demo"), Path(), device, torch.get_num_threads())
    models.load(ModelFiles(ModelVersion("1"), Path()))
    assert loaded == [used]


def test_outside_of_ray_no_gpu_was_granted(monkeypatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    assert list(components._granted_gpus()) == []


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, httpx_level = root.handlers[:], root.level, logging.getLogger("httpx").level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level
    logging.getLogger("httpx").setLevel(httpx_level)


@pytest.mark.usefixtures("_logging_restored")
def test_a_replica_logs_json_and_masks_student_data(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.delenv("EDUPULSE_LOG_FORMAT", raising=False)
    StandardComponents().configure_logs()
    structlog.get_logger("replica").info("scored", students=1, student_id="S1")
    line = json.loads(capsys.readouterr().err)
    assert (line["students"], line["student_id"]) == (1, "***")
