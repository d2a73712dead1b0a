"""What callers may expect of the graph beyond its capacity and when a node dies, in whatever mode Serve runs."""

import os
import signal
import statistics
import sys
import time
from typing import Any

import psutil

from tests.fakes.load import CUT_OFF, Load, Reply
from tests.fakes.loaded_serving import set_pace, stored_ids
from tests.fakes.serve_cluster import DEPLOYMENTS, ServeCluster, wait_for

REPLICAS = 2
"""Of each deployment, where a node is to die."""
_CONNECTIONS = 6


def two_of_each(served: ServeCluster) -> None:
    """Configure two replicas of each deployment; one of each fills a worker of one CPU."""
    for name in DEPLOYMENTS:
        served.deployment(name)["autoscaling_config"].update(min_replicas=REPLICAS, max_replicas=REPLICAS)
        served.deployment(name)["ray_actor_options"] = {"num_cpus": 0.3}


def too_much_is_refused_at_once(served: ServeCluster, *, connections: int, batch: int) -> None:
    """More than the one replica can do gets 429 without a wait, and the usual speed comes back after it."""
    usual = Load(served.port, connections=8).run_for(2)
    load = Load(served.port, connections, batch=batch).run_for(5)
    assert load.statuses().keys() == {200, 429}, load.statuses()
    refused = load.of(429)
    assert len(refused) >= 20
    assert load.of(200)
    for reply in refused:
        _assert_is_problem(reply)
    assert statistics.median(reply.seconds for reply in refused) < 1, "refused without a wait"
    assert max(reply.seconds for reply in load.replies) < 8, "nobody hangs until the servers' time limit"
    waits_ms = [1000 * reply.seconds for reply in refused]
    back_s, share = _back_to_speed(served, usual_per_s=len(usual.of(200)) / 2)
    sys.stdout.write(
        f"{connections} connections, {batch} students each: {len(load.of(200))} answered, {len(refused)} refused, median "
        f"after {statistics.median(waits_ms):.0f} ms, 95 % within {statistics.quantiles(waits_ms, n=20)[-1]:.0f} ms; "
        f"{share:.0%} of the usual speed within {back_s:.1f} s\n"
    )
    assert share >= 0.35, "the usual speed comes back"


def _back_to_speed(served: ServeCluster, *, usual_per_s: float) -> tuple[float, float]:
    """Seconds until a second of the usual load is answered at nine tenths of the usual speed, and the share it has
    reached; after fifteen seconds the best share that was seen.
    """
    began, best = time.monotonic(), (0.0, 0.0)
    while time.monotonic() - began < 15:
        share = len(Load(served.port, connections=8).run_for(1).of(200)) / usual_per_s
        best = max(best, (share, time.monotonic() - began))
        if share >= 0.9:
            break
    return best[1], best[0]


def a_node_dies_and_nothing_answered_is_lost(served: ServeCluster) -> None:
    """`two_of_each` on two workers; one dies under load, another one joins, and the service recovers by itself."""
    wait_for(lambda: _complete(served), what="two replicas of each deployment")
    for name in DEPLOYMENTS:
        assert sorted(served.nodes_of(name).values()) == [1, 1], f"{name} has a replica on each worker"
    set_pace(served.home, 0.002)
    first, _ = sorted(served.cluster.worker_nodes, key=lambda node: node.node_id)
    with Load(served.port, connections=_CONNECTIONS).running() as load:
        wait_for(lambda: len(load.of(200)) >= 50)
        _kill(first)
        died = time.monotonic()
        wait_for(lambda: all(first.node_id not in served.nodes_of(name) for name in DEPLOYMENTS), what="the loss seen")
        wait_for(lambda: len([reply for reply in load.of(200) if reply.at > died]) >= 50, what="answers without it")
        served.cluster.add_node(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20)
        wait_for(lambda: _complete(served), what="all replicas, on the new node too")
    stored = stored_ids(served.home)
    assert {reply.json()["prediction_id"] for reply in load.of(200)} <= set(stored)
    assert len(stored) == len(set(stored))
    # What was under way on the lost node has no answer; 500 is what Serve's proxy says of a gateway that died.
    assert load.statuses().keys() <= {200, 500, 503, CUT_OFF}, load.statuses()
    assert len(load.replies) - len(load.of(200)) <= 3 * _CONNECTIONS, load.statuses()
    after = Load(served.port, connections=_CONNECTIONS).run_for(2)
    assert after.statuses().keys() == {200}, "the service recovers by itself"
    for name in DEPLOYMENTS:
        assert sorted(served.nodes_of(name).values()) == [1, 1]


def a_long_load_finds_no_error_and_flat_memory(served: ServeCluster, *, seconds: float) -> None:
    """`seconds` at four fifths of what the one replica of each can do; the first third is the warm-up of the memory."""
    connections = 16
    capacity = len(Load(served.port, connections).run_for(3).of(200)) / 3
    load = Load(served.port, connections, period_s=connections / (0.8 * capacity))
    with load.running():
        time.sleep(seconds / 3)
        before = _memory_mib(served)
        time.sleep(seconds * 2 / 3)
        after = _memory_mib(served)
    assert load.statuses().keys() == {200}, load.statuses()
    assert len(load.replies) >= 0.5 * 0.8 * capacity * seconds
    assert set(before) == set(after), "no replica was replaced"
    sys.stdout.write(f"{len(load.replies)} answers; MiB after a third of the time and at its end: {before}, {after}\n")
    for name, mib in after.items():
        assert mib <= before[name] * 1.05 + 12, f"{name} grew"


def _memory_mib(served: ServeCluster) -> dict[str, int]:
    """Resident memory of each replica."""
    replicas = [(name, replica) for name in DEPLOYMENTS for replica in served.replicas(name)]
    return {
        f"{name} {replica['pid']}": psutil.Process(replica["pid"]).memory_info().rss // 2**20
        for name, replica in replicas
    }


def _assert_is_problem(reply: Reply) -> None:
    assert reply.headers["content-type"] == "application/problem+json"
    assert int(reply.headers["retry-after"]) >= 1
    problem = reply.json()
    assert problem["status"] == reply.status
    assert problem["request_id"] == reply.headers["x-request-id"]
    assert "second" in problem["detail"]


def _kill(node: Any) -> None:
    """What a lost machine looks like: its raylet is gone, and its workers with it."""
    (raylet,) = node.all_processes["raylet"]
    os.kill(raylet.process.pid, signal.SIGKILL)


def _complete(served: ServeCluster) -> bool:
    return all(sum(served.nodes_of(name).values()) == REPLICAS for name in DEPLOYMENTS)
