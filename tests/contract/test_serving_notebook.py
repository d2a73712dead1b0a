"""`docs/client.ipynb` runs against the API from its first cell to its last."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import uvicorn
from nbclient import NotebookClient

from deployments.ingress.api import create_api
from edupulse_ml.config.address import api_url_path
from edupulse_ml.security.tokens import write_token_file
from tests.fakes.serving import TOKEN, LocalServing

NOTEBOOK = Path(__file__).parents[2] / "docs" / "client.ipynb"


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    config = uvicorn.Config(create_api(LocalServing().services()), port=number, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield number
    server.should_exit = True
    thread.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")
def test_the_notebook_runs(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_token_file(tmp_path, TOKEN)
    district = tmp_path / "demo-district"
    district.mkdir()
    rows = ["student_id,entry_date,exit_date", "S0,2021-09-01,2022-01-01"]
    rows += [f"{name},2021-09-06," for name in ("S0", "S1", "S2", "S3", "NEW", "gone")]
    (district / "enrollments.csv").write_text("\n".join(rows))
    monkeypatch.setenv("EDUPULSE_HOME", str(tmp_path))
    api_url_path(tmp_path).write_text(f"http://127.0.0.1:{port}\n")
    for variable in ("EDUPULSE_TOKEN", "EDUPULSE_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "the notebook is stored without outputs"
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute(cwd=tmp_path)
    text = "\n".join(str(cell.get("outputs", "")) for cell in notebook.cells)
    assert "support recommended first" in text
    assert "NotFoundError: This district has no student" in text
    assert "InvalidInputError: as_of lies in the future" in text
    printed = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    assert printed.strip() == "True"
