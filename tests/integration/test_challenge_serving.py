"""Shadow, split, promotion and rollback under load on a real Serve graph in its fast mode, as `make up` runs it, with
challengers that go wrong: no request fails.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from edupulse_ml.core.challenge import Challenge
from edupulse_ml.core.ids import ModelVersion, StudentId
from jobs.stack.haproxy import choose_ports, mode_environment, place_environment
from jobs.stack.paths import StackPaths
from tests.fakes.load import Load
from tests.fakes.loaded_serving import (
    EATS,
    RAISES,
    SLEEPS,
    STUDENT_IDS,
    set_challenge,
    set_pace,
    stored_ids,
    stored_roles,
    stored_shadows,
)
from tests.fakes.serve_cluster import ServeCluster, serve_cluster, wait_for

MEMORY_MIB = 128
SHADOW = Challenge("11111111-0000-4000-8000-000000000000", ModelVersion("2"), shadow=1.0, split=0.0)
SPLIT = replace(SHADOW, split=0.5)


def quick(served: ServeCluster) -> None:
    served.document["applications"][0]["args"].update(
        challenge_poll_s=0.2, challenger_timeout_s=0.5, challenger_hang_s=2, challenger_memory_mib=MEMORY_MIB
    )
    challenger = served.deployment("ChallengerModel")
    challenger.update(health_check_period_s=1, graceful_shutdown_timeout_s=1)
    challenger["autoscaling_config"].update(downscale_delay_s=2, downscale_to_zero_delay_s=2, look_back_period_s=2)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeCluster]:
    environment = {"RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5"}
    if sys.platform.startswith("linux"):  # Ray brings an HAProxy for Linux only
        paths = StackPaths.of(tmp_path_factory.mktemp("h"))
        paths.haproxy.mkdir(mode=0o700, parents=True)
        environment |= mode_environment({}, fast=True) | place_environment(paths, choose_ports(paths, taken={}))
    with serve_cluster(head_cpus=2, environment=environment, change=quick) as running:
        set_pace(running.home, 0.002)
        yield running


def pids(served: ServeCluster, name: str) -> set[int]:
    return {replica["pid"] for replica in served.replicas(name)}


def versions(load: Load, *, since: int) -> dict[str, set[str]]:
    """Versions that answered each student."""
    found: dict[str, set[str]] = {}
    for reply in load.replies[since:]:
        answer = reply.json()
        found.setdefault(answer["student_id"], set()).add(answer["model_version"])
    return found


def answered_as(load: Load, expected: dict[bool, str], challenge: Challenge, *, timeout_s: float = 60) -> None:
    """Wait until 40 answers in a row come from the version that each arm shall have (True: the challenger's)."""

    def settled() -> bool:
        latest = [reply.json() for reply in load.replies[-40:]]
        return len(latest) == 40 and all(
            answer["model_version"] == expected[challenge.answers(StudentId(answer["student_id"]))] for answer in latest
        )

    wait_for(settled, timeout_s=timeout_s, what=f"answers as {expected}")


def shadowed(served: ServeCluster, version: str) -> int:
    return sum(pair[1] == version for pair in stored_shadows(served.home))


def test_1_without_a_challenge_there_is_no_challenger(served: ServeCluster) -> None:
    load = Load(served.port, connections=4).run_for(1)
    assert load.statuses().keys() == {200}
    assert pids(served, "ChallengerModel") == set()
    assert set(stored_roles(served.home).values()) == {"champion"}
    assert stored_shadows(served.home) == []


def test_2_in_the_shadow_the_challenger_is_stored_and_not_heard(served: ServeCluster) -> None:
    with Load(served.port, connections=4).running() as load:
        set_challenge(served.home, SHADOW)
        wait_for(lambda: shadowed(served, "2") >= 50, what="the shadow")
    assert load.statuses().keys() == {200}
    assert {reply.json()["model_version"] for reply in load.replies} == {"1"}
    assert {pair[0] for pair in stored_shadows(served.home)} <= set(stored_ids(served.home))
    assert not pids(served, "ChallengerModel") & pids(served, "RiskModel")


def test_3_weights_split_the_students_live_and_each_keeps_its_arm(served: ServeCluster) -> None:
    with Load(served.port, connections=4).running() as load:
        set_challenge(served.home, SPLIT)
        answered_as(load, {False: "1", True: "2"}, SPLIT)
        before = len(load.replies)
        wait_for(lambda: len(load.replies) >= before + 300)
        stable = versions(load, since=before)
        everybody = replace(SPLIT, split=1.0)
        set_challenge(served.home, everybody)
        answered_as(load, {True: "2"}, everybody)
        set_challenge(served.home, SPLIT)
        answered_as(load, {False: "1", True: "2"}, SPLIT)
    assert load.statuses().keys() == {200}
    assert all(found == {"2" if SPLIT.answers(StudentId(name)) else "1"} for name, found in stable.items())
    roles = stored_roles(served.home)
    replies = [reply.json() for reply in load.replies]
    assert all(roles[answer["prediction_id"]] == "challenger" for answer in replies if answer["model_version"] == "2")
    assert all(roles[answer["prediction_id"]] == "champion" for answer in replies if answer["model_version"] == "1")


def test_4_promotion_of_the_challenger_and_rollback_under_load(served: ServeCluster) -> None:
    replicas = pids(served, "RiskModel") | pids(served, "Gateway")
    with Load(served.port, connections=4).running() as load:
        served.promote("2")
        answered_as(load, {False: "2", True: "2"}, SPLIT)
        served.promote("1")
        answered_as(load, {False: "1", True: "2"}, SPLIT)
    assert load.statuses().keys() == {200}
    assert pids(served, "RiskModel") | pids(served, "Gateway") == replicas, "nothing was restarted"


@pytest.mark.parametrize("fault", [RAISES, SLEEPS, EATS])
def test_5_a_challenger_that_goes_wrong_fails_no_request_and_a_better_one_takes_over(
    served: ServeCluster, fault: str
) -> None:
    answering = pids(served, "RiskModel") | pids(served, "Gateway") | pids(served, "FeatureFetcher")
    wrong = replace(SPLIT, challenge_id=SPLIT.challenge_id[:-1] + "1", version=ModelVersion(fault))
    with Load(served.port, connections=4).running() as load:
        set_challenge(served.home, wrong)
        answered_as(load, {False: "1", True: "1"}, wrong)
        started = len(load.replies)
        seen: dict[int, int] = {}

        def replaced() -> bool:
            """Look at the challenger's processes: whether another one has come than the first."""
            for pid in pids(served, "ChallengerModel"):
                if psutil.pid_exists(pid):
                    seen[pid] = max(seen.get(pid, 0), psutil.Process(pid).memory_info().rss // 2**20)
            return len(seen) > 1

        if fault == RAISES:
            wait_for(lambda: not replaced() and len(load.replies) >= started + 300)
        else:
            wait_for(replaced, what="another challenger in the place of the unfit one")
        during = [reply.json() for reply in load.replies[started:]]
        set_challenge(served.home, SPLIT)
        answered_as(load, {False: "1", True: "2"}, SPLIT, timeout_s=90)
    assert load.statuses().keys() == {200}
    assert {answer["model_version"] for answer in during} == {"1"}
    assert shadowed(served, fault) == 0
    assert max(seen.values()) < 300 + MEMORY_MIB
    assert pids(served, "RiskModel") | pids(served, "Gateway") | pids(served, "FeatureFetcher") == answering


def test_6_the_end_of_the_challenge_ends_its_process(served: ServeCluster) -> None:
    with Load(served.port, connections=2).running() as load:
        set_challenge(served.home, None)
        wait_for(lambda: pids(served, "ChallengerModel") == set(), what="the end of the challenger")
        before = len(load.replies)
        wait_for(lambda: len(load.replies) >= before + 40)
    assert load.statuses().keys() == {200}
    assert set().union(*versions(load, since=before).values()) == {"1"}


def test_7_the_metrics_tell_what_happened_without_naming_anybody(served: ServeCluster) -> None:
    expected = {
        'edupulse_arm_answers_total{.*arm="challenger"',
        'edupulse_arm_answers_total{.*arm="champion"',
        'edupulse_challenger_fallbacks_total{.*reason="paused"',
        'edupulse_shadows_total{.*outcome="scored"',
        'edupulse_shadows_total{.*outcome="failed"',
    }
    pages: list[str] = []

    def told() -> bool:
        pages.append(served.client.get("/metrics").text)
        return all(re.search(line, pages[-1]) for line in expected)

    wait_for(told, what="the metrics of the challenge")
    assert not any(student in pages[-1] for student in STUDENT_IDS)
