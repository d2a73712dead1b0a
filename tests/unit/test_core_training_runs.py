"""What is true of a training run, given its row, Ray's word and the time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edupulse_ml.core.training_runs import (
    EPOCH_SECONDS,
    LONG_QUIET,
    QUIET,
    UNDER_WAY,
    RayWord,
    RunState,
    TrainingJob,
    ending_of,
    seconds_left,
)

NOW = datetime(2025, 6, 2, 15, tzinfo=UTC)
RUN = TrainingJob(
    job_id=UUID(int=1),
    kind="train",
    status="running",
    started_at=NOW,
    finished_at=None,
    parameters={},
    model_version=None,
    summary=None,
    error=None,
    heartbeat_at=NOW,
    submission_id="edupulse-train-1",
)

states = st.sampled_from(get_args(RunState))
words = st.sampled_from(get_args(RayWord))
silences = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30))


def job(state: RunState, **changes: object) -> TrainingJob:
    return replace(RUN, status=state, **changes)


@pytest.mark.parametrize(
    ("state", "ray", "silence", "end"),
    [
        ("running", "running", timedelta(days=2), None),
        ("running", "pending", timedelta(days=2), None),
        ("queued", "pending", timedelta(hours=9), None),
        ("queued", "silent", timedelta(days=2), None),
        ("running", "unknown", QUIET, None),
        ("running", "unknown", QUIET + timedelta(seconds=1), "failed"),
        ("running", "silent", LONG_QUIET, None),
        ("running", "silent", LONG_QUIET + timedelta(seconds=1), "failed"),
        ("running", "failed", timedelta(0), "failed"),
        ("running", "succeeded", timedelta(0), "failed"),
        ("running", "stopped", timedelta(0), "stopped"),
        ("queued", "failed", timedelta(0), "failed"),
        ("queued", "unknown", QUIET + timedelta(seconds=1), "failed"),
        ("stopping", "running", timedelta(hours=1), None),
        ("stopping", "failed", timedelta(0), "stopped"),
        ("stopping", "stopped", timedelta(0), "stopped"),
        ("stopping", "unknown", QUIET + timedelta(seconds=1), "stopped"),
        ("succeeded", "failed", timedelta(days=1), None),
        ("failed", "running", timedelta(days=1), None),
        ("stopped", "unknown", timedelta(days=1), None),
    ],
)
def test_ends(state: RunState, ray: RayWord, silence: timedelta, end: str | None) -> None:
    ending = ending_of(job(state), ray=ray, now=NOW + silence)
    assert (None if ending is None else ending.status) == end


@given(state=states, ray=words, silence=silences)
def test_only_what_is_under_way_ends_and_it_ends_with_a_sentence(
    state: RunState, ray: RayWord, silence: timedelta
) -> None:
    ending = ending_of(job(state), ray=ray, now=NOW + silence)
    if ending is not None:
        assert state in UNDER_WAY
        assert ending.status in {"failed", "stopped"}
        assert ending.sentence.endswith(".")


@given(state=states, ray=words, silence=silences, more=silences)
def test_what_has_ended_stays_ended_however_long_one_waits(
    state: RunState, ray: RayWord, silence: timedelta, more: timedelta
) -> None:
    first = ending_of(job(state), ray=ray, now=NOW + silence)
    later = ending_of(job(state), ray=ray, now=NOW + silence + more)
    assert first is None or (later is not None and later.status == first.status)


@given(state=states, silence=silences)
def test_a_run_that_is_heard_of_never_ends_unless_ray_says_so(state: RunState, silence: timedelta) -> None:
    fresh = job(state, heartbeat_at=NOW + silence)
    for ray in ("pending", "running", "unknown", "silent"):
        assert ending_of(fresh, ray=ray, now=NOW + silence) is None


@given(
    state=st.sampled_from(sorted(UNDER_WAY)),
    ray=st.sampled_from(("failed", "stopped", "succeeded", "unknown", "silent")),
)
def test_no_run_blocks_the_next_for_ever_once_ray_has_spoken_or_the_run_has_begun(
    state: RunState, ray: RayWord
) -> None:
    assume((state, ray) != ("queued", "silent"))
    assert ending_of(job(state), ray=ray, now=NOW + LONG_QUIET + timedelta(seconds=1)) is not None


@given(ray=words, silence=silences)
def test_a_run_of_a_release_without_heartbeats_is_left_alone(ray: RayWord, silence: timedelta) -> None:
    assert ending_of(job("running", heartbeat_at=None), ray=ray, now=NOW + silence) is None


@pytest.mark.parametrize(
    ("changes", "earlier_s", "left"),
    [
        ({}, (), None),
        ({"epoch": 0, "of_epochs": 50}, (), None),
        ({"epoch": 20, "of_epochs": 50}, (), 90.0),
        # 20 epochs were done before the run was resumed a minute ago
        ({"epoch": 21, "of_epochs": 50, "metrics": {"epoch": 21.0, EPOCH_SECONDS: 40.0}}, (), 1160.0),
        ({"epoch": 21, "of_epochs": 50, "metrics": {"epoch": 21.0, EPOCH_SECONDS: 40.0}}, (100.0,), 40.0),
        ({"epoch": 20, "of_epochs": 50}, (100.0, 400.0, 200.0), 140.0),
        ({}, (30.0,), 0.0),
    ],
)
def test_the_time_left(changes: dict[str, object], earlier_s: tuple[float, ...], left: float | None) -> None:
    assert seconds_left(job("running", **changes), earlier_s=earlier_s, now=NOW + timedelta(seconds=60)) == left


@pytest.mark.parametrize("state", ["queued", "stopping", "succeeded", "failed", "stopped"])
def test_only_a_running_run_has_time_left(state: RunState) -> None:
    assert seconds_left(job(state, epoch=1, of_epochs=2), earlier_s=(5.0,), now=NOW + timedelta(seconds=1)) is None
