"""The Serve graph on one real Ray: HTTP, coalescing, hot swap, metrics, and no student id in any log."""

import asyncio
import copy
import logging
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.fakes.serving import TOKEN

REPOSITORY = Path(__file__).parents[2]
AUTH = {"Authorization": f"Bearer {TOKEN}"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    """A running graph."""

    url: str
    home: Path
    ray_logs: Path
    document: dict[str, Any]
    client: httpx.Client

    def deploy(self, user_config: dict[str, Any]) -> None:
        """What a PUT to the dashboard's REST API does, without a dashboard."""
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        self.document["applications"][0]["deployments"][2]["user_config"] = user_config
        client = _get_global_client()
        assert client is not None
        client.deploy_apps(ServeDeploySchema.model_validate(self.document), _blocking=False)

    def wait_for(self, condition: Callable[[], bool], *, timeout_s: float = 40.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.2)

    def model(self) -> dict[str, Any]:
        return self.client.get("/api/v1/models/current").json()

    def predict(self, student_id: str, **body: Any) -> httpx.Response:
        return self.client.post("/api/v1/predict", json={"student_id": student_id, **body})


def small(document: dict[str, Any], *, home: Path, port: int) -> dict[str, Any]:
    """`serve_config.yaml` for two cores and the fakes."""
    changed = copy.deepcopy(document)
    changed["proxy_location"] = "HeadOnly"
    changed["http_options"].update(host="127.0.0.1", port=port)
    application = changed["applications"][0]
    application["import_path"] = "tests.fakes.serving:build"
    application["args"].update(home=str(home), model_poll_s=0.5, max_batch_size=32)
    for deployment in application["deployments"]:
        deployment["ray_actor_options"]["num_cpus"] = 0.1
        deployment["autoscaling_config"]["max_replicas"] = 1
        deployment["graceful_shutdown_timeout_s"] = (
            6  # Serve looks for open requests every 2 s before it closes a replica
        )
    return changed


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from _served()


def _served() -> Iterator[Served]:
    import ray
    from ray import serve
    from ray.serve.schema import LoggingConfig

    home = Path(tempfile.mkdtemp(prefix="ep-serve-"))
    port = free_port()
    environment = {"PYTHONPATH": str(REPOSITORY), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        context = ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            _temp_dir=str(home / "r"),
            runtime_env={"env_vars": environment},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            document = small(yaml.safe_load((REPOSITORY / "serve_config.yaml").read_text()), home=home, port=port)
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": "127.0.0.1", "port": port},
                logging_config=LoggingConfig(**document["logging_config"]),
            )
            logs = Path(context.address_info["session_dir"]) / "logs"
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=AUTH, timeout=30, trust_env=False) as client:
                running = Served(f"http://127.0.0.1:{port}", home, logs, document, client)
                running.deploy({"model": "champion"})
                running.wait_for(lambda: _answers(client), timeout_s=90)
                yield running
        finally:
            serve.shutdown()
            ray.shutdown()
            shutil.rmtree(home, ignore_errors=True)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def promote(served: Served, version: str) -> None:
    scratch = served.home / "champion.new"
    scratch.write_text(version)
    scratch.replace(served.home / "champion")


def test_1_without_a_champion_the_service_is_up_and_says_what_is_missing(served: Served) -> None:
    ready = served.client.get("/ready")
    assert ready.status_code == 503
    assert ready.json()["missing"] == ["model registry"]
    assert len(list(served.home.glob("logs-configured-*"))) == 3, "one per replica"
    assert "edupulse train" in served.predict("S1").json()["detail"]


def test_2_the_first_champion_is_found_without_a_deployment(served: Served) -> None:
    promote(served, "1")
    served.wait_for(lambda: served.client.get("/ready").status_code == 200)
    body = served.predict("S3").json()
    assert (body["status"], body["category"], body["model_version"]) == ("scored", "critical", "1")
    assert body["reasons"]


def test_3_batch_unknown_students_and_the_token(served: Served) -> None:
    results = served.client.post("/api/v1/predict/batch", json={"student_ids": ["S0", "nobody", "NEW", "COMPUTED"]})
    assert [item["status"] for item in results.json()["results"]] == ["scored", "error", "insufficient_data", "scored"]
    assert results.json()["results"][3]["risk_score"] == pytest.approx(0.7)
    unknown = served.predict("nobody")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
    assert httpx.post(f"{served.url}/api/v1/predict", json={}, trust_env=False).status_code == 401
    assert served.predict("S0", as_of="2999-01-01").status_code == 422
    assert served.client.get("/api/v1/predict/history/S3").json()["predictions"]


def test_3b_what_changed_passes_both_hops(served: Served) -> None:
    assert served.predict("COMPUTED").status_code == 200
    assert served.predict("COMPUTED", as_of="2022-03-01").status_code == 200
    body = served.client.get("/api/v1/predict/changes/COMPUTED").json()
    assert (body["before"]["risk_score"], body["after"]["risk_score"]) == pytest.approx((0.7, 0.7))
    assert [part["logit"] for part in body["parts"]] == [0.0] * 4
    assert served.client.get("/api/v1/predict/changes/S0").status_code == 409
    assert served.client.get("/api/v1/predict/changes/nobody").status_code == 404


def test_4_concurrent_predictions_share_calls(served: Served) -> None:
    async def burst() -> list[int]:
        async with httpx.AsyncClient(base_url=served.url, headers=AUTH, timeout=30, trust_env=False) as client:
            bodies = [{"student_id": f"S{i % 4}", "as_of": f"2022-02-{1 + i % 20:02d}"} for i in range(80)]
            responses = await asyncio.gather(*(client.post("/api/v1/predict", json=body) for body in bodies))
        return [response.status_code for response in responses]

    def questions_and_batches() -> tuple[float, float]:
        text = served.client.get("/metrics").text
        return sample(text, "ray_edupulse_answers_total"), sample(text, "ray_edupulse_batch_questions_count")

    before = questions_and_batches()
    assert asyncio.run(burst()) == [200] * 80
    served.wait_for(lambda: questions_and_batches()[0] >= before[0] + 80)  # agents are seconds behind
    after = questions_and_batches()
    assert after[1] - before[1] <= 40, "80 predictions took more than 40 batches"


def sample(text: str, name: str) -> float:
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


@pytest.mark.parametrize("wanted", ["bad", "foreign", "torn", "77"])
def test_5_a_bad_model_leaves_the_old_one_live(served: Served, wanted: str) -> None:
    served.deploy({"model": wanted})
    served.wait_for(lambda: served.model()["wanted"] == wanted)
    model = served.model()
    assert model["model_version"] == "1"
    assert model["swap_failure"]
    assert served.predict("S2", as_of="2022-01-10").status_code == 200


def test_6_a_good_model_is_swapped_in_without_a_lost_request(served: Served) -> None:
    statuses: list[int] = []
    served.deploy({"model": "2"})

    def swapped() -> bool:
        statuses.append(served.predict("S2").status_code)
        return served.model()["model_version"] == "2"

    served.wait_for(swapped)
    assert set(statuses) == {200}
    assert served.model()["swap_failure"] is None
    time.sleep(1.1)  # how long the gateway may hold on to the version it knew
    assert served.predict("S2").json()["model_version"] == "2"


def test_7_metrics_of_the_cluster_name_no_student(served: Served) -> None:
    expected = ("ray_edupulse_answers_total", "ray_edupulse_model_swaps_total", 'source="records"')
    served.wait_for(lambda: all(part in served.client.get("/metrics").text for part in expected))
    text = served.client.get("/metrics").text
    assert "history/{student_id:path}" in text or "history/" not in text
    for student_id in ("S3", "COMPUTED", "nobody"):
        assert student_id not in text


def test_8_no_log_names_a_student(served: Served) -> None:
    served.client.get("/api/v1/predict/history/COMPUTED")
    served.client.get("/api/v1/predict/changes/COMPUTED")
    time.sleep(1.0)
    naming = [
        path.relative_to(served.ray_logs).as_posix()
        for path in served.ray_logs.rglob("*")
        if path.is_file() and "COMPUTED" in path.read_text(errors="replace")
    ]
    assert naming == []


def test_9_the_real_parts_come_up_without_any_server_and_name_them(served: Served) -> None:
    from edupulse_ml.security.tokens import hash_token

    document = served.document["applications"][0]
    document["import_path"] = "deployments.app:build"
    document["args"].update(
        database_url="postgresql://127.0.0.1:1/none",
        redis_url="unix:///nonexistent/r.sock",
        mlflow_tracking_uri="sqlite:////nonexistent/mlflow.db",
        district="demo",
        token_sha256=hash_token(TOKEN),
    )
    served.deploy({"model": "champion"})

    def names_all() -> bool:
        missing = served.client.get("/ready").json().get("missing", [])
        return {"postgresql", "redis", "model registry"} <= set(missing)

    served.wait_for(names_all, timeout_s=90)
    served.wait_for(lambda: len(list(served.home.glob("closed-*"))) == 2)  # gateway and fetcher of the fakes
    assert served.predict("S1").status_code == 503
