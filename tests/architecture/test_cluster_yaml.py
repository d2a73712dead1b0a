"""`cluster.yaml` against Ray's own schema, without a cloud."""

import asyncio
import shlex
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from deployments.settings import AppArgs, SettingMissingError, complete
from deployments.training_runs import Asker, Placement, TrainingRuns
from edupulse_ml.config.settings import Settings
from edupulse_ml.config.training_order import TrainingOrder
from jobs.stack.haproxy import MODE_FLAGS, TUNING
from tests.fakes.clocks import FixedClock
from tests.fakes.training import FakeJobServer, FakeRunStore

CONFIG = Path(__file__).parents[2] / "cluster.yaml"
SERVE_CONFIG = CONFIG.with_name("serve_config.yaml")
NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load(CONFIG.read_text())


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(deepcopy(cluster)))


def test_a_misspelt_key_is_refused(cluster: dict[str, Any]) -> None:
    wrong = deepcopy(cluster)
    wrong["available_node_types"]["head"]["max_worker"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(wrong))


def test_nothing_is_scheduled_on_the_head(cluster: dict[str, Any]) -> None:
    assert cluster["head_node_type"] == "head"
    assert cluster["available_node_types"]["head"]["resources"]["CPU"] == 0
    assert "--num-cpus=0" in cluster["head_start_ray_commands"][-1]


def test_training_over_http_stays_off_the_head_and_fits_on_a_worker(cluster: dict[str, Any]) -> None:
    (application,) = yaml.safe_load(SERVE_CONFIG.read_text())["applications"]
    placement = Placement({}, num_cpus=AppArgs.model_validate(application["args"]).training_cpus)
    runs = TrainingRuns(
        runs=FakeRunStore(FixedClock(NOW)),
        server=(server := FakeJobServer()),
        clock=FixedClock(NOW),
        new_id=lambda: UUID(int=1),
        placement=placement,
    )
    asyncio.run(runs.start(TrainingOrder(), key="k", asker=Asker("token-1", "r")))
    (submission,) = server.submissions
    assert 0 < submission.num_cpus <= cluster["available_node_types"]["cpu_worker"]["resources"]["CPU"]


def test_there_are_workers_with_and_without_a_gpu(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert "GPU" not in types["cpu_worker"]["resources"]
    assert types["gpu_worker"]["resources"]["GPU"] >= 1
    assert sum(kind["max_workers"] for kind in types.values()) <= cluster["max_workers"]
    assert types["cpu_worker"]["min_workers"] >= 2


def test_every_node_starts_with_the_same_environment(cluster: dict[str, Any]) -> None:
    def exports(command: str) -> list[str]:
        return [part.strip() for part in command.split(";") if not part.strip().startswith("ray start")]

    head, worker = cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]
    assert exports(head) == exports(worker)
    assert "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/etc/edupulse/ray-token" in head, "no token, no start"
    assert ". /etc/edupulse/environment" in head


@pytest.mark.parametrize("node", ["head", "worker"])
def test_every_node_runs_the_fast_mode_that_make_up_runs(cluster: dict[str, Any], node: str) -> None:
    exported: dict[str, str] = {}
    for part in cluster[f"{node}_start_ray_commands"][-1].split(";"):
        words = shlex.split(part.strip())
        if words[:1] == ["export"]:
            exported.update(word.split("=", 1) for word in words[1:])
    serve = {name: value for name, value in exported.items() if name.startswith("RAY_SERVE_")}
    assert serve == {**dict.fromkeys(MODE_FLAGS, "1"), **TUNING}


def test_no_secret_is_in_the_file() -> None:
    text = CONFIG.read_text()
    assert "postgresql://" not in text
    assert "EDUPULSE_TOKEN=" not in text


def test_the_comment_names_every_variable_that_a_replica_cannot_do_without() -> None:
    comment = "".join(line for line in CONFIG.read_text().splitlines() if line.startswith("#"))
    needed = {"EDUPULSE_TOKEN"}
    for given in ({}, {"database_url": "x"}, {"database_url": "x", "redis_url": "x"}):
        with pytest.raises(SettingMissingError) as error:
            complete(AppArgs(**given), Settings.model_construct())
        needed.add(str(error.value).split(" ", 1)[0])
    assert len(needed) == 4
    assert all(name in comment for name in needed)
