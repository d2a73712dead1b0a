"""`serve_config.yaml`: Ray ignores unknown keys of applications and deployments, so they are compared here."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.schema import (
    DeploymentSchema,
    LoggingConfig,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from deployments.settings import AppArgs

CONFIG = Path(__file__).parents[2] / "serve_config.yaml"
BACKPRESSURE_KEYS = {"status_code", "retry_after_s"}


def load() -> dict[str, Any]:
    return yaml.safe_load(CONFIG.read_text())


def unknown_keys(given: dict[str, Any], schema: type[BaseModel], where: str) -> list[str]:
    return [f"{where}.{key}" for key in given if key not in schema.model_fields]


def all_unknown_keys(document: dict[str, Any]) -> list[str]:
    found = unknown_keys(document, ServeDeploySchema, "config")
    found += unknown_keys(document["logging_config"], LoggingConfig, "logging_config")
    for application in document["applications"]:
        found += unknown_keys(application, ServeApplicationSchema, application["name"])
        found += unknown_keys(application["args"], AppArgs, "args")
        for deployment in application["deployments"]:
            name = deployment["name"]
            found += unknown_keys(deployment, DeploymentSchema, name)
            found += unknown_keys(deployment["autoscaling_config"], AutoscalingConfig, f"{name}.autoscaling_config")
            policy = deployment["autoscaling_config"]["policy"]
            found += unknown_keys(policy, AutoscalingPolicy, f"{name}.policy")
            found += unknown_keys(deployment["ray_actor_options"], RayActorOptionsSchema, f"{name}.ray_actor_options")
            found += [
                f"{name}.{key}" for key in deployment.get("backpressure_config", {}) if key not in BACKPRESSURE_KEYS
            ]
    return found


def deployments() -> dict[str, dict[str, Any]]:
    (application,) = load()["applications"]
    return {deployment["name"]: deployment for deployment in application["deployments"]}


def test_every_key_is_one_that_ray_knows() -> None:
    assert all_unknown_keys(load()) == []


@pytest.mark.parametrize(
    "path", [(), ("applications", 0), ("applications", 0, "args"), ("applications", 0, "deployments", 1)]
)
def test_a_misspelt_key_is_found(path: tuple[str | int, ...]) -> None:
    document = load()
    place: Any = document
    for step in path:
        place = place[step]
    place["max_ongoing_request"] = 1
    assert len(all_unknown_keys(document)) == 1


def test_values_are_valid_for_ray_and_for_the_builder() -> None:
    document = load()
    ServeDeploySchema.model_validate(document)
    AppArgs.model_validate(document["applications"][0]["args"])
    for deployment in deployments().values():
        AutoscalingConfig.model_validate(deployment["autoscaling_config"])


def test_the_deployments_are_those_of_the_graph() -> None:
    from deployments.feature_fetcher import FeatureFetcher
    from deployments.gateway import Gateway
    from deployments.risk_model import ChallengerModel, RiskModel

    assert set(deployments()) == {FeatureFetcher.name, Gateway.name, RiskModel.name, ChallengerModel.name}


def test_batches_can_fill_and_overload_reaches_the_api_first() -> None:
    args = AppArgs.model_validate(load()["applications"][0]["args"])
    gateway = deployments()["Gateway"]
    assert gateway["max_ongoing_requests"] >= args.max_batch_size * args.max_concurrent_batches
    assert gateway["max_ongoing_requests"] > args.max_waiting


@pytest.mark.parametrize("name", ["Gateway", "FeatureFetcher", "RiskModel", "ChallengerModel"])
def test_autoscaling_is_bounded_and_leaves_room(name: str) -> None:
    deployment = deployments()[name]
    scaling = deployment["autoscaling_config"]
    fewest = 0 if name == "ChallengerModel" else 1  # without a challenge there is nothing to run
    assert fewest <= scaling["min_replicas"] <= scaling["max_replicas"] <= 100
    policy = scaling["policy"]["policy_kwargs"]
    if "metric" not in policy:  # else it counts students, of which a request holds many
        assert policy["per_replica"] < deployment["max_ongoing_requests"]
    assert min(scaling["upscale_delay_s"], scaling["downscale_delay_s"]) >= scaling["look_back_period_s"]


def test_the_access_log_is_off_and_the_model_is_named_in_user_config() -> None:
    assert load()["logging_config"]["enable_access_log"] is False
    assert deployments()["RiskModel"]["user_config"] == {"model": "champion"}
    assert deployments()["ChallengerModel"]["user_config"] == {"model": "challenger"}


def test_without_a_challenge_the_challenger_has_no_process() -> None:
    assert deployments()["ChallengerModel"]["autoscaling_config"]["min_replicas"] == 0


def test_no_secret_is_in_the_file() -> None:
    args = load()["applications"][0]["args"]
    assert not {"database_url", "token_sha256", "redis_url"} & set(args)


def test_there_is_no_grpc_for_which_a_local_stack_would_need_ports() -> None:
    assert "grpc_options" not in load()
