"""Serve's fast mode, HAProxy in front of the gateways: too much load, a lost node, and a long time, on three nodes of one
machine.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.stack.haproxy import choose_ports, mode_environment, place_environment
from jobs.stack.paths import StackPaths
from tests.fakes.expected_under_load import (
    a_long_load_finds_no_error_and_flat_memory,
    a_node_dies_and_nothing_answered_is_lost,
    too_much_is_refused_at_once,
    two_of_each,
)
from tests.fakes.loaded_serving import set_pace
from tests.fakes.serve_cluster import DEPLOYMENTS, ServeCluster, serve_cluster, wait_for

SOAK_S = float(os.environ.get("EDUPULSE_SOAK_S", "6"))
"""`make soak` sets ten minutes."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Ray brings an HAProxy for Linux only")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeCluster]:
    paths = StackPaths.of(tmp_path_factory.mktemp("h"))
    paths.haproxy.mkdir(mode=0o700, parents=True)
    environment = mode_environment({}, fast=True) | place_environment(paths, choose_ports(paths, taken={}))
    with serve_cluster(head_cpus=0, worker_cpus=(1, 1), change=two_of_each, environment=environment) as running:
        yield running


def test_1_haproxy_takes_the_requests(served: ServeCluster) -> None:
    with_haproxy = [path for path in Path("/proc").glob("[0-9]*") if _is_haproxy_of(path, served.port)]
    assert with_haproxy, "no HAProxy of this cluster runs"


def test_2_a_node_dies_under_load_and_nothing_answered_is_lost(served: ServeCluster) -> None:
    a_node_dies_and_nothing_answered_is_lost(served)


def test_3_one_replica_of_each_from_here_on(served: ServeCluster) -> None:
    for name in DEPLOYMENTS:
        served.deployment(name)["autoscaling_config"].update(min_replicas=1, max_replicas=1)
    served.deploy()
    wait_for(lambda: all(len(served.replicas(name)) == 1 for name in DEPLOYMENTS) and served.ready())
    set_pace(served.home, 0.005)


@pytest.mark.parametrize(("connections", "batch"), [(90, 1), (30, 60)])
def test_4_too_much_is_refused_at_once_and_full_speed_comes_back(
    served: ServeCluster, connections: int, batch: int
) -> None:
    too_much_is_refused_at_once(served, connections=connections, batch=batch)


def test_5_soak_at_four_fifths_of_capacity_no_error_and_flat_memory(served: ServeCluster) -> None:
    a_long_load_finds_no_error_and_flat_memory(served, seconds=SOAK_S)


def _is_haproxy_of(process: Path, port: int) -> bool:
    try:
        if "haproxy" not in (process / "comm").read_text():
            return False
        arguments = (process / "cmdline").read_bytes().split(b"\0")
        (config,) = [arguments[at + 1] for at, argument in enumerate(arguments) if argument == b"-f"]
        return f":{port}" in Path(os.fsdecode(config)).read_text()
    except (OSError, ValueError):
        return False  # it has ended meanwhile, or is somebody else's
