"""The latest monitoring run as metrics: jobs end before anybody scrapes them, so the gateway tells what they kept."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Final

from deployments.ingress.services import MetricsSource
from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.errors import EduPulseError
from edupulse_ml.telemetry.metrics import GaugeFamily, gauges_exposition

if TYPE_CHECKING:
    from edupulse_ml.storage.monitoring import KeptRun

LatestRun = Callable[[], Awaitable["KeptRun | None"]]
"""The monitoring run made last, None if there was none."""

_MAX_AGE_S: Final = 60.0
_TIMEOUT_S: Final = 2.0
"""Less than a scraper waits for all metrics, which must not fall silent because PostgreSQL hangs."""
_LOG: Final = logging.getLogger("ray.serve")


async def no_run() -> None:
    """For graphs without a table of monitoring runs."""


class WithMonitoring:
    """Another source's metrics, and behind them the latest monitoring run as it was up to a minute ago.

    Args:
        source: Where the other metrics come from.
        latest_run: Reads the run; where that fails or takes too long, it is tried again after a minute.
        timeout_s: Longest wait for it, in seconds.
    """

    def __init__(self, source: MetricsSource, latest_run: LatestRun, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._source = source
        self._latest_run = latest_run
        self._limit = TimeLimit(timeout_s)
        self._lock = asyncio.Lock()
        self._known: tuple[float, str] | None = None

    async def exposition(self) -> str:
        """Prometheus text; without the monitoring run where PostgreSQL does not answer, or not in time."""
        return await self._source.exposition() + await self._monitoring()

    async def _monitoring(self) -> str:
        async with self._lock:
            if self._known is None or perf_counter() - self._known[0] > _MAX_AGE_S:
                text = await self._read()
                self._known = (perf_counter(), text)
            return self._known[1]

    async def _read(self) -> str:
        try:
            run = await self._limit.run(self._ask(), Waiting("postgresql"))
        except EduPulseError as error:
            _LOG.warning("monitoring figures left out of /metrics: %s", error)
            return ""
        return "" if run is None else gauges_exposition(run_gauges(run))

    async def _ask(self) -> "KeptRun | None":
        return await self._latest_run()


def run_gauges(run: "KeptRun") -> list[GaugeFamily]:
    """Every figure that has a value, every alert, and when the run was made. Labels are names of figures, features, tasks
    and audit attributes.
    """
    told = [figure for figure in run.figures if figure.value is not None]

    def labels(kind: str, subject: str) -> dict[str, str]:
        return {"kind": kind, "subject": subject, "version": run.model_version}

    return [
        GaugeFamily(
            "edupulse_monitoring_figure",
            "Figures of the latest monitoring run (docs/monitoring.md).",
            [(labels(figure.kind, figure.subject), figure.value) for figure in told if figure.value is not None],
        ),
        GaugeFamily(
            "edupulse_monitoring_alert",
            "1 where the figure is beyond the policy's limit and chance does not explain it.",
            [(labels(figure.kind, figure.subject), float(figure.is_alert)) for figure in told],
        ),
        GaugeFamily(
            "edupulse_monitoring_run_timestamp_seconds",
            "Moment that the latest monitoring run looked from.",
            [({"version": run.model_version}, run.as_of.timestamp())],
        ),
    ]
