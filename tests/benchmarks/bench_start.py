"""`start`: from `make up` to the first prediction, and from a new champion to the first answer by it."""

import asyncio
import itertools
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

import httpx

from edupulse_ml.config.address import api_url_path
from edupulse_ml.core.ids import ModelVersion
from jobs.wiring import open_context
from tests.benchmarks.contenders import Case, Contender, Figures
from tests.benchmarks.serving_home import STORED_DAY, ServingHome, edupulse, prepare
from tests.benchmarks.setting import BenchSetting, stop

_PATIENCE_S: Final = 180.0
_POLL_S: Final = 0.05


def cases(setting: BenchSetting) -> Generator[Case]:
    """Cold starts of the whole stack, then exchanges of the champion under it. Nothing is left without Ray."""
    if not setting.with_ray:
        return
    home = prepare(setting, students=setting.size(2_000, small=150))
    arena = _Arena(setting, home)
    try:
        yield Case(
            "From `make up` to the first prediction, data and model prepared",
            [Contender("EduPulse", arena.start)],
            headline="seconds",
            lower_is_better=True,
            notes=("All servers are down before: PostgreSQL, Redis, MLflow, Ray and the API start.",),
            warm_up=False,
        )
        yield Case(
            "From a new champion to the first answer by it",
            [Contender("EduPulse", arena.exchange)],
            headline="seconds",
            lower_is_better=True,
            notes=("The replicas look for a new champion every `model_poll_s` (serve_config.yaml).",),
            warm_up=False,
        )
    finally:
        stop(setting.home)


@dataclass
class _Arena:
    """The prepared home."""

    setting: BenchSetting
    home: ServingHome

    def __post_init__(self) -> None:
        self._turns = itertools.cycle((*self.home.versions[1:], self.home.versions[0]))

    def start(self) -> Figures:
        stop(self.setting.home)
        began = time.perf_counter()
        edupulse("up", environment=self.home.environment())
        up = time.perf_counter()
        self._ask_until(None)
        return {"seconds": time.perf_counter() - began, "of it `make up`": up - began}

    def exchange(self) -> Figures:
        version = next(self._turns)
        asyncio.run(self._promote(version))
        began = time.perf_counter()
        self._ask_until(version)
        return {"seconds": time.perf_counter() - began}

    async def _promote(self, version: ModelVersion) -> None:
        async with open_context(self.setting.settings()) as context:
            context.registry.set_champion(version)

    def _ask_until(self, version: ModelVersion | None) -> None:
        """Ask until a student is scored, by `version` if one is named."""
        url = api_url_path(self.setting.home).read_text(encoding="utf-8").strip()
        body = {"student_id": self.home.students[0], "as_of": STORED_DAY.isoformat(), "include_reasons": False}
        deadline = time.monotonic() + _PATIENCE_S
        headers = {"Authorization": f"Bearer {self.home.token}"}
        last = "nothing"
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=10.0) as client:
            while time.monotonic() < deadline:
                try:
                    response = client.post("/api/v1/predict", json=body)
                except httpx.HTTPError as error:
                    last = type(error).__name__
                else:
                    last = str(response.status_code)
                    if response.is_success and version in {None, response.json().get("model_version")}:
                        return
                time.sleep(_POLL_S)
        msg = f"No answer by {version or 'any model'} within {_PATIENCE_S:.0f} s; the last was {last}."
        raise AssertionError(msg)
