"""The configuration that Ray writes for HAProxy from our environment, judged by HAProxy itself."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.stack.haproxy import choose_ports, is_available, mode_environment, place_environment
from jobs.stack.paths import StackPaths

WRITE = """
import asyncio, sys
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig, get_haproxy_binary
from ray.serve.config import HTTPOptions

async def write():
    backend = BackendConfig(
        name="http-edupulse",
        path_prefix="/",
        app_name="edupulse",
        servers=[ServerConfig(name="replica", host="127.0.0.1", port=1)],
        fallback_server=ServerConfig(name="fallback", host="127.0.0.1", port=2),
    )
    http = HTTPOptions(host="127.0.0.1", port=int(sys.argv[1]))
    api = HAProxyApi(HAProxyConfig(http_options=http), {"edupulse": backend})
    api._generate_config_file_internal()
    print(get_haproxy_binary(), api.config_file_path)

asyncio.run(write())
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.CompletedProcess[str]]]:
    """What Ray wrote, and what HAProxy says about it."""
    paths = StackPaths.of(tmp_path_factory.mktemp("h"))
    environment = mode_environment(dict(os.environ), fast=True)
    environment.update(place_environment(paths, choose_ports(paths, taken={})))
    written = subprocess.run(
        [sys.executable, "-c", WRITE, "8123"], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    program, file = written.stdout.split()
    assert Path(file).is_relative_to(paths.haproxy)
    judged = subprocess.run([program, "-c", "-f", file], capture_output=True, text=True, check=False, timeout=30)
    yield Path(file).read_text(), judged
    shutil.rmtree(paths.haproxy)


def test_there_is_an_haproxy_on_this_machine() -> None:
    assert is_available() is sys.platform.startswith("linux")


def test_haproxy_accepts_it(checked: tuple[str, subprocess.CompletedProcess[str]]) -> None:
    assert checked[1].returncode == 0, checked[1].stderr


def test_no_line_about_a_request_goes_anywhere(checked: tuple[str, subprocess.CompletedProcess[str]]) -> None:
    statements = [line.split("#")[0].split() for line in checked[0].splitlines()]
    logs = [statement for statement in statements if statement[:1] == ["log"]]
    assert ["log", "stderr", "format", "short", "local0", "notice"] in logs
    assert all(log in (["log", "global"], logs[0]) for log in logs), "a request is logged at `info`"


def test_api_and_limits_are_ours(checked: tuple[str, subprocess.CompletedProcess[str]]) -> None:
    statements = {" ".join(line.split("#")[0].split()) for line in checked[0].splitlines()}
    assert {
        "bind 127.0.0.1:8123",
        "timeout connect 2s",
        "timeout client 30s",
        "timeout server 15s",
        "hard-stop-after 15s",
        "retry-on conn-failure empty-response",
        "retries 2",
        "option redispatch 1",
    } <= statements
