"""The load generator counts what a server answers, whatever the answers' bytes are cut into."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from tests.benchmarks.load_generator import LoadPlan, LoadResult, run_load

Answer = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


def response(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nDate: now\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def load(
    answer: Answer, *, bodies: list[str], connections: int = 2, cyclic: bool = False
) -> tuple[LoadResult, list[bytes]]:
    """Run a load against a server that answers each request's body by `answer`; also what the server was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"Authorization: Bearer secret\r\n" in head
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                asked.append(await reader.readexactly(length))
                await answer(writer, asked[-1])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> LoadResult:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            plan = LoadPlan(
                host="127.0.0.1",
                port=port,
                path="/ask",
                token="secret",
                bodies=bodies,
                connections=connections,
                seconds=0.2 if cyclic else 30.0,
                cyclic=cyclic,
            )
            return await run_load(plan)

    return asyncio.run(run()), asked


def test_each_body_is_sent_once_and_statuses_are_counted() -> None:
    async def answer(writer: asyncio.StreamWriter, body: bytes) -> None:
        writer.write(response(503 if body == b'"3"' else 200, b"{}"))

    bodies = [json.dumps(str(number)) for number in range(20)]
    result, asked = load(answer, bodies=bodies)
    assert sorted(asked) == sorted(body.encode() for body in bodies)
    assert result.statuses == {"200": 19, "503": 1}
    assert (result.answered, result.errors, result.lost) == (19, 1, 0)
    assert set(result.latency_ms) == {"p50", "p95", "p99", "max"}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_answer_may_come_in_pieces(size: int) -> None:
    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        data = response(200, b"x" * 50)
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)

    result, _ = load(answer, bodies=["{}"] * 6)
    assert result.statuses == {"200": 6}


def test_a_connection_that_breaks_is_replaced_and_its_request_counted_as_lost() -> None:
    async def answer(writer: asyncio.StreamWriter, body: bytes) -> None:
        if body == b"4":
            writer.close()
            return
        writer.write(response(200, b"{}"))

    result, asked = load(answer, bodies=[str(number) for number in range(9)], connections=1)
    assert len(asked) == 9
    assert (result.answered, result.lost, result.errors) == (8, 1, 1)


def test_a_cyclic_load_starts_over_until_the_time_is_up() -> None:
    async def answer(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(response(200, b"{}"))

    result, asked = load(answer, bodies=["1", "2"], cyclic=True)
    assert result.answered == len(asked) > 4
    assert result.seconds >= 0.15
