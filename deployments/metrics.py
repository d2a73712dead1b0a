"""Domain metrics of the replicas, and one view of them over the whole cluster.

Replicas count through `ray.serve.metrics`, which reach the agent of their node; `/metrics` merges the agents, so that
the numbers do not depend on the replica that happens to answer. Labels never hold student data.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final

import httpx
import ray
from ray.serve import metrics

from edupulse_ml.telemetry.metrics import merge_expositions

PREFIXES: Final = ("ray_edupulse_", "ray_serve_")
"""What `/metrics` shows of a node agent's two thousand lines."""
NOISE_LABELS: Final = (
    "Component",
    "SessionName",
    "Version",
    "otel_scope_name",
    "otel_scope_schema_url",
    "otel_scope_version",
)
"""Labels with one value in the whole cluster; without them the page has half the size."""
_SECONDS: Final = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]
_SIZES: Final = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
_SCRAPE_TIMEOUT_S: Final = 2.0
_EXPOSITION_MAX_AGE_S: Final = 5.0
"""Agents themselves are up to ten seconds behind."""


class GatewayMetrics:
    """What the scoring service counts."""

    def __init__(self) -> None:
        self._answers = metrics.Counter("edupulse_answers", "Answers that left.", tag_keys=("status", "cached"))  # pyright: ignore[reportArgumentType] - Ray means tuple[str, ...]
        self._seconds = metrics.Histogram("edupulse_batch_seconds", "Seconds per joined batch.", boundaries=_SECONDS)
        self._questions = metrics.Histogram("edupulse_batch_questions", "Questions per joined batch.", _SIZES)

    def answered(self, answers: int, *, status: str, cached: bool) -> None:
        self._answers.inc(answers, tags={"status": status, "cached": str(cached).lower()})

    def batch_done(self, *, questions: int, seconds: float) -> None:
        self._questions.observe(questions)
        self._seconds.observe(seconds)


class ChallengeMetrics:
    """What a gateway counts of the version beside the champion."""

    def __init__(self) -> None:
        self._arms = metrics.Counter(
            "edupulse_arm_answers", "Answers while students are split, by who gave them.", tag_keys=("arm",)
        )  # pyright: ignore[reportArgumentType] - Ray means tuple[str, ...]
        self._fallbacks = metrics.Counter(
            "edupulse_challenger_fallbacks", "Answers of the challenger's arm by the champion.", tag_keys=("reason",)
        )
        self._shadows = metrics.Counter("edupulse_shadows", "Students in the shadow.", tag_keys=("outcome",))
        self._weight = metrics.Gauge("edupulse_challenge_weight", "Share of students in use.", tag_keys=("kind",))
        self._serving = metrics.Gauge("edupulse_challenger_ready", "1 while the challenging version is served.")
        self._unreadable = metrics.Gauge("edupulse_challenge_unreadable", "1 while the setting cannot be read.")

    def by_arm(self, answers: int, *, arm: str) -> None:
        self._arms.inc(answers, tags={"arm": arm})

    def fallback(self, answers: int, *, reason: str) -> None:
        self._fallbacks.inc(answers, tags={"reason": reason})

    def shadowed(self, students: int, *, outcome: str) -> None:
        if students:
            self._shadows.inc(students, tags={"outcome": outcome})

    def challenge(self, *, shadow: float, split: float, serving: bool) -> None:
        self._weight.set(shadow, tags={"kind": "shadow"})
        self._weight.set(split, tags={"kind": "split"})
        self._serving.set(float(serving))

    def setting_unreadable(self, *, unreadable: bool) -> None:
        self._unreadable.set(float(unreadable))


class FetcherMetrics:
    """Where feature windows came from."""

    def __init__(self) -> None:
        self._windows = metrics.Counter("edupulse_windows", "Feature windows fetched.", tag_keys=("source",))

    def fetched(self, *, source: str, windows: int) -> None:
        if windows:
            self._windows.inc(windows, tags={"source": source})


class ModelMetrics:
    """Exchanges of the live model and what came of them."""

    def __init__(self) -> None:
        self._swaps = metrics.Counter("edupulse_model_swaps", "Exchanges of the live model.", tag_keys=("outcome",))
        self._failed = metrics.Gauge("edupulse_model_swap_failed", "1 while the model asked for is not served.")
        self._served = metrics.Gauge("edupulse_model_served", "1 for the version in use.", tag_keys=("version",))
        self._version: str | None = None

    def swap(self, *, outcome: str) -> None:
        self._swaps.inc(tags={"outcome": outcome})

    def state(self, *, version: str | None, failed: bool) -> None:
        self._failed.set(float(failed))
        if version != self._version and self._version is not None:
            self._served.set(0.0, tags={"version": self._version})
        if version is not None:
            self._served.set(1.0, tags={"version": version})
        self._version = version


class ClusterMetrics:
    """Metrics of all nodes, at most five seconds old."""

    def __init__(self, agents: Callable[[], Awaitable[Sequence[str]]]) -> None:
        self._agents = agents
        self._lock = asyncio.Lock()
        self._known: tuple[float, str] | None = None

    async def exposition(self) -> str:
        """Prometheus text; a node whose agent does not answer is left out."""
        async with self._lock:
            if self._known is None or perf_counter() - self._known[0] > _EXPOSITION_MAX_AGE_S:
                texts = await self._scrape(await self._agents())
                merged = await asyncio.to_thread(merge_expositions, texts, prefixes=PREFIXES, drop_labels=NOISE_LABELS)
                self._known = (perf_counter(), merged)
            return self._known[1]

    async def _scrape(self, urls: Sequence[str]) -> list[str]:
        async with httpx.AsyncClient(timeout=_SCRAPE_TIMEOUT_S, trust_env=False) as client:
            responses = await asyncio.gather(*(client.get(url) for url in urls), return_exceptions=True)
        return [item.text for item in responses if isinstance(item, httpx.Response) and item.is_success]


async def node_agents() -> list[str]:
    """URLs of the metrics agents of all living nodes."""
    nodes = await asyncio.to_thread(ray.nodes)
    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in nodes if node["Alive"]
    ]
