"""The latest monitoring run as Prometheus text: names and labels, none of them of a student."""

import asyncio
import time
from datetime import UTC, date, datetime

from prometheus_client.parser import text_string_to_metric_families

from deployments.monitoring_metrics import WithMonitoring, no_run
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.storage.monitoring import KeptFigure, KeptRun

RUN = KeptRun(
    "7",
    date(2026, 3, 2),
    datetime(2026, 3, 2, 9, tzinfo=UTC),
    "1",
    date(2026, 2, 2),
    date(2026, 2, 23),
    (
        KeptFigure("psi", "absence_rate_4wk", 0.31, 0.2, None, None, None, 0.0001, 700, True, None),
        KeptFigure("psi", "odr_count_wk", 0.01, 0.2, None, None, None, 1.0, 700, False, None),
        KeptFigure("auc", "risk_score", None, None, None, None, None, None, None, False, "no prediction of age"),
    ),
)


class Cluster:
    async def exposition(self) -> str:
        return "# TYPE edupulse_answers counter\nedupulse_answers_total 3.0\n"


class Runs:
    """The latest run, or the error that PostgreSQL raises; counts how often it is asked."""

    def __init__(self, answer: KeptRun | Exception | None) -> None:
        self.answer, self.asked = answer, 0

    async def latest(self) -> KeptRun | None:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def samples(text: str) -> dict[tuple[str, str, str], float]:
    return {
        (sample.name, sample.labels.get("kind", ""), sample.labels.get("subject", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_alerts_and_the_moment_stand_behind_the_clusters_metrics() -> None:
    found = samples(asyncio.run(WithMonitoring(Cluster(), Runs(RUN).latest).exposition()))
    assert found == {
        ("edupulse_answers_total", "", ""): 3.0,
        ("edupulse_monitoring_figure", "psi", "absence_rate_4wk"): 0.31,
        ("edupulse_monitoring_figure", "psi", "odr_count_wk"): 0.01,
        ("edupulse_monitoring_alert", "psi", "absence_rate_4wk"): 1.0,
        ("edupulse_monitoring_alert", "psi", "odr_count_wk"): 0.0,
        ("edupulse_monitoring_run_timestamp_seconds", "", ""): RUN.as_of.timestamp(),
    }


def test_the_table_is_read_at_most_once_a_minute() -> None:
    runs = Runs(RUN)
    metrics = WithMonitoring(Cluster(), runs.latest)

    async def thrice() -> None:
        for _ in range(3):
            await metrics.exposition()

    asyncio.run(thrice())
    assert runs.asked == 1


def test_without_a_run_or_without_a_database_the_rest_is_told() -> None:
    plain = asyncio.run(Cluster().exposition())
    assert asyncio.run(WithMonitoring(Cluster(), no_run).exposition()) == plain
    down = Runs(DependencyDownError("PostgreSQL did not answer.", dependency="postgresql"))
    assert asyncio.run(WithMonitoring(Cluster(), down.latest).exposition()) == plain


def test_a_database_that_hangs_costs_one_scrape_a_bounded_wait() -> None:
    asked = 0

    async def hangs() -> KeptRun | None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(30)
        return None

    async def scrapes() -> list[float]:
        metrics = WithMonitoring(Cluster(), hangs, timeout_s=0.2)
        waited_s: list[float] = []
        for _ in range(3):
            started = time.perf_counter()
            assert await metrics.exposition() == await Cluster().exposition()
            waited_s.append(time.perf_counter() - started)
        return waited_s

    first, *others = asyncio.run(scrapes())
    assert 0.1 < first < 5
    assert max(others) < 0.1
    assert asked == 1
