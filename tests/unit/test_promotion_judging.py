"""Judging a candidate whose champion is gone or broken: no free pass, and no dead end."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation.gate import Verdict
from edupulse_ml.evaluation.promotion_policy import load_policy
from edupulse_ml.models.terms import write_strategy
from edupulse_ml.registry.models import FetchedModel
from jobs.promotion import deciding
from jobs.promotion.contenders import load_contender
from jobs.promotion.deciding import judging_anew
from tests.fakes.clocks import FixedClock
from tests.fakes.judged_history import contender
from tests.unit.test_gate import GOOD

CANDIDATE, CHAMPION = ModelVersion("2"), ModelVersion("1")


class Registry:
    """Folders below one folder; versions without one are not registered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, version: ModelVersion) -> FetchedModel:
        if not (self.folder / version).is_dir():
            msg = f"Version {version} is not registered."
            raise NotFoundError(msg)
        return FetchedModel(version, self.folder / version)


def judged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """The verdict on a candidate that meets every rule, beside the champion of the folder."""
    (folder / CANDIDATE).mkdir()

    async def read(*_: object, **__: object) -> None:
        return None

    def load(fetched: FetchedModel):
        return contender(version=CANDIDATE) if fetched.version == CANDIDATE else load_contender(fetched)

    def gathered(past, candidate, champion, *, policy, step):
        return replace(GOOD, candidate=candidate.version, champion=None if champion is None else champion.version)

    for name, stand_in in (("load_history", read), ("load_contender", load), ("gather_evidence", gathered)):
        monkeypatch.setattr(deciding, name, stand_in)
    context: Any = SimpleNamespace(
        registry=Registry(folder), clock=FixedClock(), contract=contender(version=CANDIDATE).model.contract
    )
    return asyncio.run(judging_anew(context, load_policy(), step=lambda _: None)(CANDIDATE, CHAMPION))


def incomplete(folder: Path) -> None:
    folder.mkdir()


def of_another_release(folder: Path) -> None:
    folder.mkdir()
    write_strategy(folder, "oracle")


def gone(folder: Path) -> None:
    del folder


@pytest.mark.parametrize(
    ("champion", "why"), [(incomplete, "it lacks"), (of_another_release, "'oracle'"), (gone, "is not registered")]
)
def test_a_champion_that_cannot_be_loaded_fails_its_rule_and_leaves_the_way_to_an_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, champion: Callable[[Path], None], why: str
) -> None:
    champion(tmp_path / CHAMPION)
    verdict = judged(tmp_path, monkeypatch)
    assert [rule.name for rule in verdict.failed] == ["champion"]
    assert why in verdict.failed[0].sentence
    assert (verdict.candidate, verdict.champion) == (CANDIDATE, CHAMPION)


def test_a_champion_that_loads_is_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contender().model.save(tmp_path / CHAMPION)
    verdict = judged(tmp_path, monkeypatch)
    assert verdict.passed
    assert verdict.champion == CHAMPION
