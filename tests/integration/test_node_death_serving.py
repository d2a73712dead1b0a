"""Three nodes on one machine: replicas spread, a node dies under load, nothing that was answered is lost."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.load import CUT_OFF, Load
from tests.fakes.loaded_serving import set_pace, stored_ids
from tests.fakes.serve_cluster import DEPLOYMENTS, ServeCluster, serve_cluster, wait_for

REPLICAS = 2
CONNECTIONS = 6


def two_of_each(served: ServeCluster) -> None:
    for name in DEPLOYMENTS:
        served.deployment(name)["autoscaling_config"].update(min_replicas=REPLICAS, max_replicas=REPLICAS)
        served.deployment(name)["ray_actor_options"] = {"num_cpus": 0.3}  # one of each fills a worker


@pytest.fixture(scope="module")
def served() -> Iterator[ServeCluster]:
    # As in cluster.yaml, the head has no CPU for replicas: it must survive them.
    with serve_cluster(head_cpus=0, worker_cpus=(1, 1), change=two_of_each) as running:
        yield running


def kill(node: Any) -> None:
    """What a lost machine looks like: its raylet is gone, and its workers with it."""
    (raylet,) = node.all_processes["raylet"]
    os.kill(raylet.process.pid, signal.SIGKILL)


def complete(served: ServeCluster) -> bool:
    return all(sum(served.nodes_of(name).values()) == REPLICAS for name in DEPLOYMENTS)


def test_replicas_spread_a_node_dies_under_load_and_nothing_answered_is_lost(served: ServeCluster) -> None:
    wait_for(lambda: complete(served), what="two replicas of each deployment")
    for name in DEPLOYMENTS:
        assert sorted(served.nodes_of(name).values()) == [1, 1], f"{name} has a replica on each worker"
    set_pace(served.home, 0.002)
    first, _ = sorted(served.cluster.worker_nodes, key=lambda node: node.node_id)
    with Load(served.port, connections=CONNECTIONS).running() as load:
        wait_for(lambda: len(load.of(200)) >= 50)
        kill(first)
        died = time.monotonic()
        wait_for(lambda: all(first.node_id not in served.nodes_of(name) for name in DEPLOYMENTS), what="the loss seen")
        wait_for(lambda: len([reply for reply in load.of(200) if reply.at > died]) >= 50, what="answers without it")
        served.cluster.add_node(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20)
        wait_for(lambda: complete(served), what="all replicas, on the new node too")
    stored = stored_ids(served.home)
    assert {reply.json()["prediction_id"] for reply in load.of(200)} <= set(stored)
    assert len(stored) == len(set(stored))
    # What was under way on the lost node has no answer; 500 is what Serve's proxy says of a gateway that died.
    assert load.statuses().keys() <= {200, 500, 503, CUT_OFF}, load.statuses()
    assert len(load.replies) - len(load.of(200)) <= 3 * CONNECTIONS, load.statuses()
    after = Load(served.port, connections=CONNECTIONS).run_for(2)
    assert after.statuses().keys() == {200}, "the service recovers by itself"
    for name in DEPLOYMENTS:
        assert sorted(served.nodes_of(name).values()) == [1, 1]
