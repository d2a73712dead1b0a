"""Whatever a candidate model is, the live one stays until it is better replaced."""

import asyncio
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest

from deployments.messages import FetchedStudent, FetchedWindows
from deployments.model_slot import LiveModel, ModelFiles, ModelSlot, SelfTestError, self_test
from deployments.window_scoring import score_windows
from edupulse_ml.core.errors import ContractMismatchError, DependencyDownError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.sequences import SequenceBatch, empty_windows
from tests.fakes.clocks import FixedClock
from tests.fakes.serving import CONTRACT, NOW, REASON, TRANSPARENT, CountingMetrics, FakeModels

LIVE = LiveModel(ModelVersion("1"), TRANSPARENT, NOW)


def slot_of(models: FakeModels, metrics: CountingMetrics | None = None) -> ModelSlot:
    return ModelSlot(models, contract=CONTRACT, clock=FixedClock(NOW), metrics=metrics or CountingMetrics())


def test_the_champion_is_served() -> None:
    slot = slot_of(FakeModels())
    assert slot.live is None
    asyncio.run(slot.aim_config({"model": "champion"}))
    served = slot.served()
    assert (served.version, served.wanted, served.swap_failure) == ("1", "champion", None)
    assert (served.policy_version, served.loaded_at) == ("p1", NOW)
    assert served.contract_fingerprint == CONTRACT.fingerprint


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model": "bad"}, "risk_score is not one probability"),
        ({"model": "foreign"}, "window_weeks"),
        ({"model": "torn"}, "could not be loaded (OSError)"),
        ({"model": 99}, "no model version 99"),
        ({"model": ""}, "user_config"),
        ({"model": True}, "user_config"),
        ({"modle": "2"}, "user_config"),
        (None, "user_config"),
        ("2", "user_config"),
    ],
)
def test_a_bad_candidate_leaves_the_live_model_and_says_why(config: object, sentence: str) -> None:
    async def scenario(slot: ModelSlot) -> None:
        await slot.aim_config({"model": "1"})
        await slot.aim_config(config)

    metrics = CountingMetrics()
    slot = slot_of(FakeModels(), metrics)
    asyncio.run(scenario(slot))
    assert slot.live is not None
    assert slot.live.version == "1"
    assert sentence in str(slot.served().swap_failure)
    assert metrics.swaps == ["swapped", "failed"]
    assert metrics.states[-1] == ("1", True)


def test_the_next_good_candidate_ends_the_failure() -> None:
    async def scenario(slot: ModelSlot) -> None:
        for wanted in ("1", "bad", "2"):
            await slot.aim(wanted)

    metrics = CountingMetrics()
    slot = slot_of(FakeModels(), metrics)
    asyncio.run(scenario(slot))
    assert slot.served().version == "2"
    assert slot.served().swap_failure is None
    assert metrics.states[-1] == ("2", False)


def test_a_refresh_follows_the_champion_and_loads_nothing_that_is_live() -> None:
    async def scenario(slot: ModelSlot, models: FakeModels) -> None:
        await slot.aim("champion")
        await slot.refresh()
        assert models.loads == 1
        models.champion = "2"
        await slot.refresh()

    models = FakeModels()
    slot = slot_of(models)
    asyncio.run(scenario(slot, models))
    assert slot.served().version == "2"


def test_a_registry_that_comes_back_is_found_by_the_next_refresh() -> None:
    async def scenario(slot: ModelSlot, models: FakeModels) -> None:
        await slot.aim("champion")
        assert slot.live is None
        assert "MLflow" in str(slot.served().swap_failure)
        models.error = None
        await slot.refresh()

    models = FakeModels(error=DependencyDownError("MLflow does not answer.", dependency="model registry"))
    metrics = CountingMetrics()
    slot = slot_of(models, metrics)
    asyncio.run(scenario(slot, models))
    assert slot.served().version == "1"


def test_a_failure_that_lasts_is_counted_once() -> None:
    async def scenario(slot: ModelSlot) -> None:
        await slot.aim("bad")
        await slot.refresh()
        await slot.refresh()

    metrics = CountingMetrics()
    asyncio.run(scenario(slot_of(FakeModels(), metrics)))
    assert metrics.swaps == ["failed"]


def test_the_self_test_wants_an_explanation_per_student() -> None:
    self_test(TRANSPARENT)
    mute = FakeModels().load(ModelFiles(ModelVersion("1"), Path()))
    with pytest.raises(SelfTestError):
        self_test(type(mute)(mute.contract, mute.policy, mute.score, lambda batch: []))


def fetched(*statuses: str, fingerprint: str = CONTRACT.fingerprint) -> FetchedWindows:
    found = sum(status == "found" for status in statuses)
    batch = empty_windows(found, window_weeks=20)
    batch.week[:, :5] = 19_000 + 7 * np.arange(5)
    students = tuple(FetchedStudent(status) for status in statuses)  # pyright: ignore[reportArgumentType]
    return FetchedWindows(students, batch, fingerprint)


def test_reasons_go_to_the_students_they_were_asked_for() -> None:
    windows = fetched("found", "unknown_student", "found", "insufficient", "found")
    scored = score_windows(LIVE, windows, with_reasons=(False, True, True, True, False))
    assert {row: item.reasons for row, item in scored.scores.explanations.items()} == {1: (REASON,)}
    assert scored.students == windows.students
    assert (scored.model_version, scored.policy_version) == ("1", "p1")


def test_attention_shows_the_heaviest_real_weeks() -> None:
    scores = score_windows(LIVE, fetched("found"), with_reasons=(False,)).scores
    assert scores.attention_week.tolist() == [[19_028, 19_021, 19_014]]
    assert (np.diff(scores.attention_weight) < 0).all()


def test_a_short_window_shows_the_weeks_it_has() -> None:
    windows = fetched("found", "found")
    windows.batch.week[1, 2:] = -1
    assert score_windows(LIVE, windows, with_reasons=(False, False)).scores.attention_week.tolist() == [
        [19_028, 19_021, 19_014],
        [19_007, 19_000, -1],
    ]


def test_a_strategy_in_which_nothing_attends_shows_no_weeks() -> None:
    def unattending(batch: SequenceBatch) -> SimpleNamespace:
        scores = TRANSPARENT.score(batch)
        return SimpleNamespace(
            risk_score=scores.risk_score,
            risk_60plus=scores.risk_60plus,
            attention=np.zeros(batch.week.shape, dtype=np.float32),
        )

    live = dataclasses.replace(LIVE, model=dataclasses.replace(TRANSPARENT, score=unattending))
    assert score_windows(live, fetched("found"), with_reasons=(False,)).scores.attention_week.tolist() == [[-1, -1, -1]]


def test_no_found_student_asks_the_model_nothing() -> None:
    def unasked(batch: SequenceBatch) -> NoReturn:
        raise AssertionError(f"asked about {batch.n_examples} students")

    live = dataclasses.replace(LIVE, model=dataclasses.replace(TRANSPARENT, score=unasked, explain=unasked))
    assert score_windows(live, fetched("unknown_student"), with_reasons=(True,)).scores.risk_score.shape == (0,)


def test_windows_of_another_contract_are_refused() -> None:
    with pytest.raises(ContractMismatchError):
        score_windows(LIVE, fetched("found", fingerprint="other"), with_reasons=(True,))
