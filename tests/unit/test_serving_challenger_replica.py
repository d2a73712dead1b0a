"""The challenger's replica: bounded memory, errors as values, unhealthy when it hangs, kept while a gateway asks."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments import risk_model
from deployments.messages import FetchedStudent, FetchedWindows, HopFailure
from deployments.risk_model import ChallengerModel, ChallengerUnfitError
from deployments.settings import AppArgs
from edupulse_ml.core.predictions import Coverage
from edupulse_ml.core.sequences import empty_windows
from tests.fakes.loaded_serving import EATS, RAISES, LoadedComponents, replaced, set_pace
from tests.fakes.serving import CONTRACT, CountingMetrics

ARGS = AppArgs(challenger_memory_mib=None, challenger_hang_s=0.05)
FETCHED = FetchedWindows(
    (FetchedStudent("found", 18_000, Coverage(1.0, 1.0, 1.0, 20)),),
    empty_windows(1, window_weeks=CONTRACT.window_weeks),
    CONTRACT.fingerprint,
)


class Replica:
    """The deployment's class over the fakes, made as Serve makes it."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
        monkeypatch.setattr("deployments.risk_model.ModelMetrics", CountingMetrics)
        set_pace(home, 0.0)
        replaced(home / "challenger", version)
        kind: Any = ChallengerModel.func_or_class
        self.made = kind(ARGS, LoadedComponents(home))

    async def load(self) -> None:
        await self.made.reconfigure({"model": "challenger"})
        self.made._poll.cancel()


@pytest.fixture
def replica_of(tmp_path, monkeypatch):
    return lambda version: Replica(tmp_path, monkeypatch, version)


def test_it_serves_the_version_that_the_alias_names(replica_of) -> None:
    async def scenario() -> Any:
        replica = replica_of("2")
        await replica.load()
        return await replica.made.served(), await replica.made.predict_many(FETCHED, (False,))

    served, scored = asyncio.run(scenario())
    assert (served.version, served.wanted, scored.model_version) == ("2", "challenger", "2")


def test_without_the_alias_it_says_how_to_name_one(replica_of) -> None:
    async def scenario() -> Any:
        replica = replica_of("none")
        await replica.load()
        return await replica.made.predict_many(FETCHED, (False,))

    assert isinstance(asyncio.run(scenario()), HopFailure)


@pytest.mark.parametrize(("fault", "kind"), [(RAISES, "RuntimeError"), (EATS, "MemoryError")])
def test_a_model_that_raises_is_a_failed_hop_and_one_out_of_memory_is_replaced(
    replica_of, monkeypatch, fault, kind
) -> None:
    if fault == EATS:
        monkeypatch.setattr("tests.fakes.loaded_serving.bytearray", _no_memory, raising=False)

    async def scenario() -> tuple[Any, Any]:
        replica = replica_of(fault)
        await replica.load()
        replica.made.check_health()
        return replica.made, await replica.made.predict_many(FETCHED, (False,))

    made, answer = asyncio.run(scenario())
    assert answer == HopFailure(f"The challenger's model failed ({kind}).", "model registry")
    if fault == EATS:
        with pytest.raises(ChallengerUnfitError, match="memory"):
            made.check_health()
    else:
        made.check_health()


def _no_memory(_: int) -> bytearray:
    raise MemoryError


def test_a_forward_that_does_not_end_makes_it_unhealthy(replica_of, tmp_path) -> None:
    async def scenario() -> None:
        replica = replica_of("2")
        await replica.load()
        set_pace(tmp_path, 0.4)
        work = asyncio.create_task(replica.made.predict_many(FETCHED, (False,)))
        await asyncio.sleep(0.2)
        with pytest.raises(ChallengerUnfitError, match="has not ended"):
            replica.made.check_health()
        await work
        replica.made.check_health()

    asyncio.run(scenario())


def test_it_is_wanted_while_a_gateway_asks(replica_of, monkeypatch) -> None:
    now = 1000.0
    monkeypatch.setattr(risk_model, "monotonic", lambda: now)

    async def scenario() -> list[float]:
        nonlocal now
        replica = replica_of("2")
        found = [(await replica.made.record_autoscaling_stats())["students"]]
        await replica.made.served()
        found.append((await replica.made.record_autoscaling_stats())["students"])
        now += 11
        found.append((await replica.made.record_autoscaling_stats())["students"])
        return found

    assert asyncio.run(scenario()) == [0.0, 1.0, 0.0]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux says what a process has")
def test_memory_beyond_the_bound_is_refused() -> None:
    code = (
        "from deployments.memory_limit import bound_memory\n"
        "assert bound_memory(64)\n"
        "kept = bytearray(16 * 2**20)\n"
        "try:\n"
        "    bytearray(256 * 2**20)\n"
        "except MemoryError:\n"
        "    print('refused')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "refused"
