"""Unit tests start no Ray and open no socket: whoever tries is told."""

import socket
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def _no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        msg = "a unit test opens no socket and starts no Ray: use a fake, or move the test to tests/integration"
        raise AssertionError(msg)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setattr("ray.init", refuse)
