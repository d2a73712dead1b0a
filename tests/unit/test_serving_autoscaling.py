"""The scaling policy by itself, and in Ray's own frame of bounds and delays over hours of simulated load."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray.serve.autoscaling_policy import _apply_autoscaling_config, replica_queue_length_autoscaling_policy
from ray.serve.config import AutoscalingConfig

from deployments.autoscaling import SteadyScaling
from deployments.in_hand import STUDENTS
from edupulse_ml.core.errors import InvalidInputError

CONFIG = Path(__file__).parents[2] / "serve_config.yaml"


def context(
    work: float | None,
    *,
    target: int = 1,
    state: dict[str, Any] | None = None,
    now: float = 0.0,
    bounds: tuple[int, int] = (1, 100),
) -> Any:
    return SimpleNamespace(
        target_num_replicas=target,
        current_num_replicas=target,
        total_num_requests=work or 0.0,
        aggregated_metrics={} if work is None else {STUDENTS: {"a": work / 2, "b": work / 2}},
        capacity_adjusted_min_replicas=bounds[0],
        capacity_adjusted_max_replicas=bounds[1],
        policy_state=state or {},
        current_time=now,
        config=SimpleNamespace(downscale_delay_s=100.0),
    )


@pytest.mark.parametrize("metric", [None, STUDENTS])
@pytest.mark.parametrize(
    ("work", "target", "wanted"),
    [
        (0, 1, 1),
        (100, 1, 1),
        (110, 1, 1),  # within the band
        (111, 1, 2),
        (640, 1, 7),  # in one step
        (640, 7, 7),
        (295, 4, 4),  # 2.95 replicas are too near to 3 to give one up
        (285, 4, 3),
        (0, 4, 1),
        (5_000, 4, 20),
    ],
)
def test_wanted_replicas(metric: str | None, work: float, target: int, wanted: int) -> None:
    policy = SteadyScaling(per_replica=100, metric=metric, band=0.1)
    assert policy(context(work, target=target, bounds=(1, 20)))[0] == wanted


def test_where_the_bounds_allow_for_none_the_last_replica_goes_once_nothing_was_needed() -> None:
    policy = SteadyScaling(per_replica=100, metric=STUDENTS)
    wanted, state = policy(context(1, target=1, bounds=(0, 2)))
    assert wanted == 1, "one student is work"
    assert policy(context(0, target=1, state=state, now=50, bounds=(0, 2)))[0] == 1
    assert policy(context(0, target=1, state=state, now=150, bounds=(0, 2)))[0] == 0
    assert policy(context(0, target=1, state=state, now=150, bounds=(1, 2)))[0] == 1


def test_before_a_replica_has_reported_nothing_changes() -> None:
    policy = SteadyScaling(per_replica=100, metric=STUDENTS)
    assert policy(context(None, target=3, state={"x": 1})) == (3, {"x": 1})


def test_it_goes_no_lower_than_was_needed_within_the_delay() -> None:
    policy = SteadyScaling(per_replica=100)
    _, state = policy(context(750, target=8, now=0))
    wanted, state = policy(context(10, target=8, state=state, now=90))
    assert wanted == 8
    wanted, state = policy(context(330, target=8, state=state, now=99))
    wanted, state = policy(context(10, target=8, state=state, now=120))
    assert wanted == 4, "the 7.5 replicas are forgotten, the 3.3 are not"


def test_its_memory_stays_small_however_often_it_is_asked() -> None:
    policy = SteadyScaling(per_replica=100)
    state: dict[str, Any] = {}
    for tick in range(5_000):
        _, state = policy(context(1_000 - tick / 10, target=8, state=state, now=tick / 10))
    assert len(state["edupulse_peaks"]) <= 20


@pytest.mark.parametrize("wrong", [{"per_replica": 0}, {"per_replica": 1, "band": 0.5}, {"per_replica": 1, "band": -1}])
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        SteadyScaling(**wrong)


@dataclass
class Simulation:
    """A deployment under Ray's autoscaler, one decision a second."""

    policy: Callable[[Any], tuple[float, dict[str, Any]]]
    monkeypatch: pytest.MonkeyPatch
    per_replica: float = 100.0
    maximum: int = 8
    start_s: int = 15
    replicas: list[int] = field(default_factory=list)

    def run(self, load: Callable[[float], float], seconds: int) -> Sequence[int]:
        config = AutoscalingConfig(
            min_replicas=1,
            max_replicas=self.maximum,
            target_ongoing_requests=self.per_replica,
            upscale_delay_s=30,
            downscale_delay_s=300,
            look_back_period_s=30,
        )
        decide = _apply_autoscaling_config(self.policy)
        ctx = context(0.0, bounds=(1, self.maximum))
        ctx.config = config
        clock = SimpleNamespace(time=lambda: float(ctx.current_time))
        self.monkeypatch.setattr("ray.serve.autoscaling_policy.time", clock)
        started: list[tuple[int, int]] = []
        for second in range(seconds):
            work = sum(load(second - back) for back in range(30)) / 30
            ctx.current_time = float(second)
            ctx.total_num_requests = work
            ctx.aggregated_metrics = {STUDENTS: {"all": work}}
            decision, ctx.policy_state = decide(ctx)
            wanted = max(1, min(self.maximum, math.ceil(decision)))
            if wanted > ctx.target_num_replicas:
                started.append((second + self.start_s, wanted))
            if wanted < ctx.target_num_replicas:
                started, ctx.current_num_replicas = [], wanted
            ctx.target_num_replicas = wanted
            ctx.current_num_replicas = max(
                [ctx.current_num_replicas] + [count for at, count in started if at <= second]
            )
            self.replicas.append(wanted)
        return self.replicas


def turns(replicas: Sequence[int]) -> int:
    """How often the number of replicas changes its direction."""
    steps = [after - before for before, after in itertools.pairwise(replicas) if after != before]
    return sum((before > 0) != (after > 0) for before, after in itertools.pairwise(steps))


def changes(replicas: Sequence[int]) -> int:
    return sum(before != after for before, after in itertools.pairwise(replicas))


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    return Simulation(SteadyScaling(per_replica=100, metric=STUDENTS), monkeypatch)


def test_a_load_step_brings_replicas_up_and_its_end_brings_them_down_once(simulation: Simulation) -> None:
    replicas = simulation.run(lambda second: 560.0 if 100 <= second < 1_500 else 20.0, 3_600)
    assert max(replicas) == 6
    assert replicas.index(6) <= 100 + 30 + 30, "at most the look-back and the delay after the step"
    assert replicas[1_500 + 299] == 6, "not before the delay"
    assert replicas[-1] == 1
    assert turns(replicas) == 1


def test_a_wave_shorter_than_the_delay_does_not_move_the_replicas_to_and_fro(simulation: Simulation) -> None:
    wave = [300.0 + 200.0 * math.sin(2 * math.pi * second / 240) for second in range(7_200)]
    replicas = simulation.run(lambda second: wave[int(second)], 7_200)
    assert turns(replicas) == 0
    assert replicas[-1] == 5


def test_a_slow_wave_is_followed_with_one_turn_per_half_wave(simulation: Simulation) -> None:
    replicas = simulation.run(lambda second: 350.0 - 300.0 * math.cos(2 * math.pi * second / 7_200), 14_400)
    assert (min(replicas), max(replicas)) == (1, 7)
    assert turns(replicas) <= 3


def test_noise_around_a_whole_number_of_replicas_does_not_turn_them(simulation: Simulation) -> None:
    noise = random.Random(4)
    load = [300.0 + noise.gauss(0, 25) for _ in range(3_600)]
    replicas = simulation.run(lambda second: load[int(second)], 3_600)
    assert changes(replicas[60:]) == 0


def test_bursts_are_where_rays_own_policy_gives_up_what_it_needs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of seven replicas' work, a lull in which Ray's delay happens to end, and the next burst."""

    def load(second: float) -> float:
        phase = second % 600
        return 690.0 if phase < 180 else 90.0 if phase < 560 else 510.0

    def lowest_after_first_burst(policy: Callable[[Any], Any]) -> tuple[int, int]:
        replicas = Simulation(policy, monkeypatch).run(load, 6_000)
        return min(replicas[600:]), turns(replicas)

    own = lowest_after_first_burst(SteadyScaling(per_replica=100, metric=STUDENTS))
    rays = lowest_after_first_burst(replica_queue_length_autoscaling_policy)
    assert own == (7, 0)
    assert rays[0] == 1
    assert rays[1] >= 10


def test_the_policies_of_the_configuration_can_be_made() -> None:
    (application,) = yaml.safe_load(CONFIG.read_text())["applications"]
    made = [AutoscalingConfig.model_validate(item["autoscaling_config"]).policy for item in application["deployments"]]
    assert [policy.policy_function for policy in made] == ["deployments.autoscaling:SteadyScaling"] * 4
    for policy in made:
        SteadyScaling(**policy.policy_kwargs)
