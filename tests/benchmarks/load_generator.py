"""A closed-loop HTTP load generator: one process, N kept connections, each with one request under way.

Costs little, so that it does not measure itself: request bytes are built beforehand, of answers only status and length
are read. `python -m tests.benchmarks.load_generator` reads a `LoadPlan` as JSON and writes a `LoadResult`.
"""

import asyncio
import gc
import json
import resource
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, cast

import numpy as np
import uvloop

_LENGTH: Final = b"content-length:"
_PAUSE_S: Final = 0.05
"""Before a refused connection is tried again."""


@dataclass(frozen=True)
class LoadPlan:
    """What to send. Each body is sent at most once, in this order; `cyclic` starts over. Ends after `seconds`, or when
    the bodies are used up; answers under way are waited for.
    """

    host: str
    port: int
    path: str
    token: str
    bodies: Sequence[str]
    connections: int
    seconds: float
    cyclic: bool = False


@dataclass(frozen=True)
class LoadResult:
    """`statuses` counts answers by HTTP status, `lost` requests without one. Latencies are those of answers 200."""

    seconds: float
    statuses: dict[str, int]
    lost: int
    cpu_s: float
    latency_ms: dict[str, float] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """Requests answered with 200."""
        return self.statuses.get("200", 0)

    @property
    def errors(self) -> int:
        """Requests answered with anything else, or not at all."""
        return sum(self.statuses.values()) - self.answered + self.lost


def prebuilt(plan: LoadPlan) -> list[bytes]:
    """Each request as the bytes to send."""
    head = (
        f"POST {plan.path} HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\nAuthorization: Bearer {plan.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )
    return [f"{head}{len(body.encode())}\r\n\r\n{body}".encode() for body in plan.bodies]


class _Load:
    """What all connections share."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._requests = prebuilt(plan)
        self._next = 0
        self.deadline = float("inf")
        self.latencies = array("d")
        self.statuses: Counter[int] = Counter()
        self.lost = 0
        self.last_answer = 0.0

    def take(self) -> bytes | None:
        """The next request, None once the time is over or the bodies are used up."""
        if time.perf_counter() >= self.deadline:
            return None
        if self._next == len(self._requests):
            if not self._plan.cyclic:
                return None
            self._next = 0
        self._next += 1
        return self._requests[self._next - 1]


class _Connection(asyncio.Protocol):
    """Sends a request, waits for its answer, sends the next."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._received = b""
        self._awaited = -1
        self._status = 0
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._under_way = False
        self.finished = False
        """There was nothing left to ask."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are not registered as such

    def start(self) -> None:
        """Send the first request, or end."""
        request = self._load.take()
        if request is None or self._transport is None:
            self._end()
            return
        self._under_way = True
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._awaited < 0 and not self._read_head():
            return
        if len(self._received) < self._awaited:
            return
        now = time.perf_counter()
        self._load.statuses[self._status] += 1
        self._load.last_answer = now
        if self._status == 200:
            self._load.latencies.append(now - self._sent_at)
        self._received, self._awaited, self._under_way = b"", -1, False
        self.start()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._under_way:
            self._load.lost += 1
        if not self.done.done():
            self.done.set_result(None)

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._received[:end].lower()
        self._status = int(head[9:12])
        at = head.find(_LENGTH)
        if at < 0:
            msg = "an answer has no Content-Length"
            raise ValueError(msg)
        stop = head.find(b"\r", at)
        self._awaited = end + 4 + int(head[at + len(_LENGTH) : stop if stop >= 0 else None])
        return True

    def _end(self) -> None:
        self.finished = True
        if self._transport is not None:
            self._transport.close()
        if not self.done.done():
            self.done.set_result(None)


async def run_load(plan: LoadPlan) -> LoadResult:
    """Send what the plan says, and count what comes back."""
    load = _Load(plan)
    loop = asyncio.get_running_loop()
    connections: list[_Connection] = []
    for _ in range(plan.connections):
        _, connection = await loop.create_connection(lambda: _Connection(load), plan.host, plan.port)
        connections.append(connection)
    gc.collect()
    used = _cpu_seconds()
    started = time.perf_counter()
    load.deadline = started + plan.seconds
    for connection in connections:
        connection.start()
    await asyncio.gather(*(_lasting(connection, load, plan) for connection in connections))
    elapsed = max(load.last_answer - started, 1e-9)
    return LoadResult(
        seconds=elapsed,
        statuses={str(status): n for status, n in load.statuses.items()},
        lost=load.lost,
        cpu_s=_cpu_seconds() - used,
        latency_ms=_percentiles(load),
    )


async def _lasting(connection: _Connection, load: _Load, plan: LoadPlan) -> None:
    """Replace the connection whenever the server closes it, as long as there is time."""
    loop = asyncio.get_running_loop()
    await connection.done
    while not connection.finished and time.perf_counter() < load.deadline:
        try:
            _, connection = await loop.create_connection(lambda: _Connection(load), plan.host, plan.port)
        except OSError:
            load.lost += 1
            await asyncio.sleep(_PAUSE_S)
            continue
        connection.start()
        await connection.done


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _percentiles(load: _Load) -> dict[str, float]:
    if not load.latencies:
        return {}
    found = np.percentile(np.frombuffer(load.latencies, dtype=np.float64), [50, 95, 99, 100]) * 1000
    return dict(zip(("p50", "p95", "p99", "max"), (float(value) for value in found), strict=True))


def encode(plan: LoadPlan) -> str:
    """`plan` as JSON."""
    return json.dumps(asdict(plan))


def main() -> None:
    """Read a plan from standard input, write the result to standard output."""
    plan = LoadPlan(**json.load(sys.stdin))
    gc.disable()
    sys.stdout.write(json.dumps(asdict(uvloop.run(run_load(plan)))))


if __name__ == "__main__":
    main()
