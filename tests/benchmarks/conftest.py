"""Real servers for these tests; `tests/fakes/servers.py` says how they are shared."""

import pytest

from tests.fakes.servers import postgres

__all__ = ["postgres"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:XDG_RUNTIME_DIR is not set")
