"""The embedded MLflow server: started, kept, and started again on its port after a kill."""

import os
import signal
import time
from pathlib import Path

from jobs.stack.mlflow import ensure_mlflow, stop_mlflow
from jobs.stack.paths import StackPaths
from jobs.stack.ports import is_free, next_free
from jobs.stack.processes import is_alive
from jobs.stack.web import answers


def test_mlflow_is_kept_while_it_answers_and_replaced_after_a_kill(tmp_path: Path) -> None:
    paths, environment = StackPaths.of(tmp_path), dict(os.environ)
    port = next_free(5200)
    try:
        first = ensure_mlflow(paths, preferred_port=port, environment=environment)
        assert first.url == f"http://127.0.0.1:{port}"
        assert ensure_mlflow(paths, preferred_port=port, environment=environment) == first
        os.kill(first.pid, signal.SIGKILL)
        while is_alive(first):
            time.sleep(0.01)
        second = ensure_mlflow(paths, preferred_port=port, environment=environment)
        assert second.pid != first.pid
        assert second.url == first.url
        assert answers(f"{second.url}/health")
    finally:
        assert stop_mlflow(paths)
    assert not is_alive(second)
    assert is_free(port)
    assert stop_mlflow(paths) is False
