"""Real servers for these tests; `tests/fakes/servers.py` says how they are shared."""

import pytest

from tests.fakes.servers import database_urls, module_database_urls, postgres, redis_server

__all__ = ["database_urls", "module_database_urls", "postgres", "redis_server"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:XDG_RUNTIME_DIR is not set")
