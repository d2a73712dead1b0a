"""How long the start of PostgreSQL is waited for, and what becomes of a server that hangs."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.stack import postgres
from jobs.stack.paths import StackPaths
from jobs.stack.processes import ServerStartError


class Server:
    """A server process whose `pg_isready` takes three seconds and exits with `answer`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
        self.answer = answer
        self.seconds = 0.0
        self.ended = 0
        monkeypatch.setattr(postgres, "_running_pid", lambda _: 1)
        monkeypatch.setattr(postgres, "adopt", lambda *_, **__: None)
        monkeypatch.setattr(postgres, "end", self.end)
        monkeypatch.setattr(postgres.subprocess, "run", self.ask)
        monkeypatch.setattr(postgres.time, "sleep", self.pass_time)
        monkeypatch.setattr(postgres.time, "monotonic", lambda: self.seconds)

    def ask(self, *_: object, **__: object) -> SimpleNamespace:
        self.pass_time(3.0)
        return SimpleNamespace(returncode=self.answer)

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds

    def end(self, *_: object, **__: object) -> None:
        self.ended += 1


@pytest.mark.parametrize(("answer", "ended"), [(2, 1), (1, 0)], ids=["hangs", "recovers"])
def test_a_server_that_does_not_answer_is_given_up_in_time(
    tmp_path: Path, monkeypatch, answer: int, ended: int
) -> None:
    server = Server(monkeypatch, answer)
    with pytest.raises(ServerStartError, match="does not answer"):
        postgres._wait_until_ready(StackPaths.of(tmp_path), tmp_path)
    assert 100 < server.seconds < 130
    assert server.ended == ended


def test_a_server_that_answers_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    server = Server(monkeypatch, 0)
    postgres._wait_until_ready(StackPaths.of(tmp_path), tmp_path)
    assert (server.seconds, server.ended) == (3.0, 0)
