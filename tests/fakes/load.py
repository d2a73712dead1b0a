"""A load generator for tests: closed-loop keep-alive connections in one thread, every answer kept."""

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.loaded_serving import STUDENT_IDS
from tests.fakes.serving import TOKEN

CUT_OFF = 0
"""Status of a request whose connection ended without an answer."""


@dataclass(frozen=True)
class Reply:
    """One request's answer. `at` and `seconds` in seconds of `time.monotonic`; `headers` with lower-case names."""

    status: int
    at: float
    seconds: float
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Load:
    """Requests from `connections` clients, each of which asks again as soon as it has an answer.

    Args:
        port: Where the API listens on 127.0.0.1.
        connections: Number of clients.
        period_s: A client asks this often where answers come in time; 0: as soon as it has an answer.
        pause_refused_s: How long it waits after any answer but 200.
        batch: Students per request; 1 asks `/predict`, more `/predict/batch`.
    """

    port: int
    connections: int
    period_s: float = 0.0
    pause_refused_s: float = 0.2
    batch: int = 1
    timeout_s: float = 30.0
    replies: list[Reply] = field(default_factory=list)
    _stopping: bool = False

    def statuses(self) -> Counter[int]:
        return Counter(reply.status for reply in self.replies)

    def of(self, *statuses: int) -> list[Reply]:
        return [reply for reply in self.replies if reply.status in statuses]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """The load, in a thread of its own; on leaving, every client takes its last answer."""
        thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        thread.start()
        try:
            yield self
        finally:
            self._stopping = True
            thread.join(self.timeout_s + 10)
            assert not thread.is_alive(), "a client still waits for its answer"

    def run_for(self, seconds: float) -> "Load":
        with self.running():
            time.sleep(seconds)
        return self

    async def _run(self) -> None:
        students = itertools.cycle(STUDENT_IDS)
        await asyncio.gather(*(self._client(students) for _ in range(self.connections)))

    async def _client(self, students: Iterator[str]) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopping:
            started = time.monotonic()
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", self.port)
                asked = list(itertools.islice(students, self.batch))
                reply = await asyncio.wait_for(_ask(*connection, asked), self.timeout_s)
            except (OSError, asyncio.IncompleteReadError):
                reply = (CUT_OFF, {}, b"")
            self.replies.append(Reply(reply[0], started, time.monotonic() - started, reply[1], reply[2]))
            if connection is not None and (reply[0] == CUT_OFF or reply[1].get("connection") == "close"):
                connection[1].close()
                connection = None
            rest_s = started + self.period_s - time.monotonic()
            await asyncio.sleep(max(0.0, rest_s) if reply[0] == 200 else self.pause_refused_s)
        if connection is not None:
            connection[1].close()


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, students: Sequence[str]
) -> tuple[int, dict[str, str], bytes]:
    single = len(students) == 1
    path = "/api/v1/predict" if single else "/api/v1/predict/batch"
    body = json.dumps({"student_id": students[0]} if single else {"student_ids": list(students)}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        return int(lines[0].split()[1]), headers, await _chunks(reader)
    return int(lines[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body
