"""A registry that is down, on a real Ray Serve: replicas without a model take no questions from those that have one."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.fakes.loaded_serving import OUTAGE_FILE, STUDENT_IDS, replaced
from tests.fakes.serve_cluster import ServeCluster, serve_cluster, wait_for


def _alone(cluster: ServeCluster) -> None:
    cluster.deployment("RiskModel")["health_check_period_s"] = 0.5


@pytest.fixture(scope="module")
def served() -> Iterator[ServeCluster]:
    with serve_cluster(head_cpus=2, change=_alone) as running:
        yield running


def pids(served: ServeCluster) -> set[int]:
    return {replica["pid"] for replica in served.replicas("RiskModel")}


def statuses(served: ServeCluster, *, seconds: float) -> set[int]:
    """Statuses of predictions asked one after the other for so long."""
    found: set[int] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found.add(served.client.post("/api/v1/predict", json={"student_id": STUDENT_IDS[1]}).status_code)
    return found


def test_1_a_new_replica_stays_away_until_it_has_a_model(served: ServeCluster) -> None:
    (first,) = pids(served)
    replaced(served.home / OUTAGE_FILE, "")
    served.deployment("RiskModel")["autoscaling_config"].update(min_replicas=2, max_replicas=2)
    served.deploy()
    assert statuses(served, seconds=15.0) == {200}
    assert pids(served) == {first}
    (served.home / OUTAGE_FILE).unlink()
    wait_for(lambda: len(pids(served)) == 2, what="the second replica")
    assert statuses(served, seconds=2.0) == {200}


def test_2_where_none_has_a_model_all_stay_up_and_one_that_finds_it_is_left_alone(served: ServeCluster) -> None:
    replaced(served.home / OUTAGE_FILE, "")
    before = pids(served)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(pids(served) - before) == 2, timeout_s=120, what="two replicas without a model")
    without = pids(served)
    wait_for(lambda: statuses(served, seconds=0.5) == {503}, what="the answer that there is no model")
    assert served.client.get("/ready").json()["missing"] == ["model registry"]
    lucky = min(without)
    replaced(served.home / OUTAGE_FILE, str(lucky))
    wait_for(lambda: pids(served) == {lucky}, timeout_s=120, what="the end of the replica without a model")
    wait_for(lambda: statuses(served, seconds=0.5) == {200}, what="answers")
    assert statuses(served, seconds=10.0) == {200}
    assert pids(served) == {lucky}, "the next one stays away"
    (served.home / OUTAGE_FILE).unlink()
    wait_for(lambda: len(pids(served)) == 2, what="the second replica")
