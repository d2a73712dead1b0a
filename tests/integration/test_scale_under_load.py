"""The Serve graph under a load step, under too much, and while its model is exchanged; on one real Ray."""

import time
from collections.abc import Iterator

import pytest

from tests.fakes.expected_under_load import too_much_is_refused_at_once
from tests.fakes.load import Load
from tests.fakes.loaded_serving import set_pace, stored_ids
from tests.fakes.serve_cluster import ServeCluster, serve_cluster, wait_for

PER_REPLICA = 6
BOUNDS = (1, 3)
# Serve tells the autoscaler every ten seconds by default, here ten times as often.
QUICK_METRICS = {
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
}


def scale_risk_model(served: ServeCluster, bounds: tuple[int, int]) -> None:
    scaling = served.deployment("RiskModel")["autoscaling_config"]
    scaling.update(
        min_replicas=bounds[0], max_replicas=bounds[1], upscale_delay_s=1, downscale_delay_s=2, look_back_period_s=2
    )
    scaling["policy"]["policy_kwargs"]["per_replica"] = PER_REPLICA


@pytest.fixture(scope="module")
def served() -> Iterator[ServeCluster]:
    with serve_cluster(
        head_cpus=2, environment=QUICK_METRICS, change=lambda served: scale_risk_model(served, BOUNDS)
    ) as running:
        yield running


def test_1_a_load_step_brings_replicas_up_and_its_end_brings_them_down(served: ServeCluster) -> None:
    set_pace(served.home, 0.02)  # one replica scores 50 students a second
    seen: list[int] = []

    def replicas(wanted: int) -> bool:
        now = len(served.replicas("RiskModel"))
        if not seen or now != seen[-1]:
            seen.append(now)
        return now == wanted

    with Load(served.port, connections=30).running() as load:
        wait_for(lambda: replicas(BOUNDS[1]), what="the rise")
        before = len(load.replies)
        time.sleep(2)
        assert len(load.replies) > before
    wait_for(lambda: replicas(BOUNDS[0]), what="the fall")
    time.sleep(2)
    assert replicas(BOUNDS[0])
    assert seen == sorted(seen[: seen.index(BOUNDS[1]) + 1]) + sorted(seen[seen.index(BOUNDS[1]) + 1 :], reverse=True)
    assert load.statuses().keys() == {200}, "neither the rise nor the fall costs a request"


def test_2_one_replica_from_here_on(served: ServeCluster) -> None:
    scale_risk_model(served, (1, 1))
    served.deploy()
    wait_for(lambda: len(served.replicas("RiskModel")) == 1 and served.ready())
    set_pace(served.home, 0.005)


@pytest.mark.parametrize(("connections", "batch"), [(90, 1), (30, 60)])
def test_3_too_much_is_refused_at_once_and_full_speed_comes_back(
    served: ServeCluster, connections: int, batch: int
) -> None:
    too_much_is_refused_at_once(served, connections=connections, batch=batch)


def test_4_models_are_exchanged_under_load_without_a_failed_request(served: ServeCluster) -> None:
    pids = {replica["pid"] for replica in served.replicas("RiskModel")}
    user_config = served.deployment("RiskModel")["user_config"]
    with Load(served.port, connections=8).running() as load:
        served.promote("2")
        wait_for(lambda: served.model()["model_version"] == "2")
        for refused in ("bad", "foreign", "torn", "77"):
            user_config["model"] = refused
            served.deploy()
            wait_for(lambda wanted=refused: served.model()["wanted"] == wanted)
            model = served.model()
            assert (model["model_version"], bool(model["swap_failure"])) == ("2", True)
        served.promote("1")
        user_config["model"] = "champion"
        served.deploy()
        wait_for(lambda: served.model()["model_version"] == "1")
        time.sleep(1.5)  # a second is how long the gateway may hold on to the version it knew
        answered = len(load.replies)
        time.sleep(0.5)
    assert load.statuses().keys() == {200}
    versions = [reply.json()["model_version"] for reply in load.replies]
    assert {"1", "2"} == set(versions)
    assert set(versions[answered:]) == {"1"}
    assert {replica["pid"] for replica in served.replicas("RiskModel")} == pids, "nothing was restarted"


def test_5_every_prediction_that_was_answered_is_stored_once(served: ServeCluster) -> None:
    load = Load(served.port, connections=8).run_for(1)
    stored = stored_ids(served.home)
    assert {reply.json()["prediction_id"] for reply in load.of(200)} <= set(stored)
    assert len(stored) == len(set(stored))
