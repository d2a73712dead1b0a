"""Three nodes on one machine: replicas spread, a node dies under load, nothing that was answered is lost."""

from collections.abc import Iterator

import pytest

from tests.fakes.expected_under_load import a_node_dies_and_nothing_answered_is_lost, two_of_each
from tests.fakes.serve_cluster import ServeCluster, serve_cluster


@pytest.fixture(scope="module")
def served() -> Iterator[ServeCluster]:
    # As in cluster.yaml, the head has no CPU for replicas: it must survive them.
    with serve_cluster(head_cpus=0, worker_cpus=(1, 1), change=two_of_each) as running:
        yield running


def test_replicas_spread_a_node_dies_under_load_and_nothing_answered_is_lost(served: ServeCluster) -> None:
    a_node_dies_and_nothing_answered_is_lost(served)
