"""A Ray cluster of one or more nodes on this machine, serving `tests/fakes/loaded_serving.py`."""

import copy
import logging
import shutil
import socket
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.fakes.loaded_serving import set_pace
from tests.fakes.serving import TOKEN

REPOSITORY = Path(__file__).parents[2]
DEPLOYMENTS = ("Gateway", "FeatureFetcher", "RiskModel")
_OBJECT_STORE_BYTES = 80 * 2**20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 60.0, what: str = "the condition") -> float:
    """Seconds until `condition` held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"{what} did not come true within {timeout_s:g} s"
        time.sleep(0.1)
    return time.monotonic() - started


@dataclass
class ServeCluster:
    """A cluster with a running graph. `home` is shared by all nodes, as a database would be."""

    cluster: Any
    home: Path
    port: int
    document: dict[str, Any]
    client: httpx.Client

    def deploy(self) -> None:
        """Bring `document` into effect, as a PUT to the dashboard's REST API does."""
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        client = _get_global_client()
        assert client is not None
        client.deploy_apps(ServeDeploySchema.model_validate(self.document), _blocking=False)

    def deployment(self, name: str) -> dict[str, Any]:
        """The part of `document` that configures one deployment."""
        (found,) = [item for item in self.document["applications"][0]["deployments"] if item["name"] == name]
        return found

    def replicas(self, name: str) -> list[dict[str, Any]]:
        """Running replicas of one deployment, with `node_id` and `pid`."""
        from ray.serve.context import _get_global_client

        client = _get_global_client()
        assert client is not None
        details = client.get_serve_details()["applications"]["edupulse"]["deployments"][name]
        return [item for item in details["replicas"] if item["state"] == "RUNNING"]

    def nodes_of(self, name: str) -> Counter[str]:
        """How many running replicas of one deployment each node has."""
        return Counter(item["node_id"] for item in self.replicas(name))

    def model(self) -> dict[str, Any]:
        return self.client.get("/api/v1/models/current").json()

    def ready(self) -> bool:
        try:
            return self.client.get("/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def promote(self, version: str) -> None:
        """What the registry does when the champion moves."""
        scratch = self.home / "champion.new"
        scratch.write_text(version)
        scratch.replace(self.home / "champion")


def small(home: Path, port: int) -> dict[str, Any]:
    """`serve_config.yaml` for two cores and the fakes: one replica each, no autoscaling, short queues."""
    document = copy.deepcopy(yaml.safe_load((REPOSITORY / "serve_config.yaml").read_text()))
    document["proxy_location"] = "HeadOnly"
    document["http_options"].update(host="127.0.0.1", port=port)
    application = document["applications"][0]
    application["import_path"] = "tests.fakes.loaded_serving:build"
    application["args"].update(home=str(home), model_poll_s=0.3, max_batch_size=8, max_waiting=40)
    for deployment in application["deployments"]:
        deployment["ray_actor_options"] = {"num_cpus": 0.1}
        scaling = deployment["autoscaling_config"]
        scaling.update(min_replicas=min(1, scaling["min_replicas"]), max_replicas=1)
        deployment["graceful_shutdown_timeout_s"] = 6
    return document


@contextmanager
def serve_cluster(
    *,
    head_cpus: float,
    worker_cpus: Sequence[float] = (),
    change: Callable[[ServeCluster], None] = lambda _: None,
    environment: dict[str, str] | None = None,
) -> Iterator[ServeCluster]:
    """A cluster whose graph answers; `change` may alter its configuration before it is deployed."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    home = Path(tempfile.mkdtemp(prefix="ep-load-"))
    set_pace(home, 0.0)
    (home / "champion").write_text("1")
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        variables = {
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            **(environment or {}),
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        # It would lead every other `ray.init()` on this machine here.
        patch.setattr("ray._private.utils.write_ray_address", lambda *_args, **_kwargs: None)
        node = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": head_cpus, "temp_dir": str(home / "r"), "dashboard_port": free_port(), **node},
        )
        try:
            for cpus in worker_cpus:
                cluster.add_node(num_cpus=cpus, **node)
            ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=30,
                trust_env=False,
            ) as client:
                running = ServeCluster(cluster, home, port, small(home, port), client)
                change(running)
                running.deploy()
                wait_for(running.ready, timeout_s=120, what="the graph")
                yield running
        finally:
            if ray.is_initialized():
                serve.shutdown()
                ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(home, ignore_errors=True)
