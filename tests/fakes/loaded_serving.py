"""The graph for tests under load: many students, a model of known pace, and stored predictions that outlive a node."""

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ray.serve import Application

from deployments.components import Stores
from deployments.model_slot import LoadedModel, ModelFiles, ModelSource, Scores
from deployments.settings import AppArgs, ServingConfig
from edupulse_ml.core.challenge import CHALLENGER, Challenge, ShadowPrediction
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import MODEL_REGISTRY, DependencyDownError
from edupulse_ml.core.ids import ModelVersion, StudentId, StudentKey
from edupulse_ml.core.predictions import InsufficientData, Prediction
from edupulse_ml.core.sequences import SequenceBatch
from tests.fakes.serving import (
    LAST_WEEK,
    TRANSPARENT,
    FakeComponents,
    FakeDistrict,
    FileChampion,
    student_block,
    transparent_score,
)
from tests.fakes.stores import FakeChallengeStore, FakePredictionStore
from tests.fakes.training import FakeRunStore

N_STUDENTS = 400
STUDENT_IDS = [f"L{number:03d}" for number in range(N_STUDENTS)]
PACE_FILE = "pace"
"""In the home folder: seconds that the model takes per student. A test may change it at any time."""
STORED_FILE = "stored-predictions"
"""In the home folder: one prediction per line (id, role, challenge), stored before the answer leaves."""
CHALLENGE_FILE = "challenge"
"""In the home folder: how the challenge is set, as JSON; missing: there is none."""
SHADOW_FILE = "stored-shadows"
"""In the home folder: one pair per line (id of the prediction answered, version that said it, challenge)."""
OUTAGE_FILE = "outage"
"""In the home folder: while it is there, the registry answers only the process whose id it holds."""
RAISES, SLEEPS, EATS = "raises", "sleeps", "eats"
"""Challengers that pass their self-test and go wrong at the first question."""


def set_pace(home: Path, seconds_per_student: float) -> None:
    """From the next batch on, every replica takes `seconds_per_student`."""
    replaced(home / PACE_FILE, str(seconds_per_student))


def stored_ids(home: Path) -> list[str]:
    """Ids of all stored predictions, in the order in which they were stored."""
    return [line[0] for line in _lines(home / STORED_FILE)]


def stored_roles(home: Path) -> dict[str, str]:
    """Role of each stored prediction by its id."""
    return {line[0]: line[1] for line in _lines(home / STORED_FILE)}


def stored_shadows(home: Path) -> list[tuple[str, ...]]:
    """Id of the prediction answered, version of the challenger, challenge."""
    return _lines(home / SHADOW_FILE)


def set_challenge(home: Path, challenge: Challenge | None) -> None:
    """What `edupulse challenger` does: move the alias, and set the weights."""
    replaced(home / CHALLENGER, "none" if challenge is None else challenge.version)
    replaced(home / CHALLENGE_FILE, "null" if challenge is None else json.dumps(vars(challenge)))


def replaced(path: Path, text: str) -> None:
    """Write a file that nobody sees half written."""
    scratch = path.with_name(f"{path.name}.new")
    scratch.write_text(text)
    scratch.replace(path)


def _lines(path: Path) -> list[tuple[str, ...]]:
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.is_file() else []


def _append(path: Path, lines: Sequence[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
    finally:
        os.close(descriptor)


@dataclass
class FilePredictionStore(FakePredictionStore):
    """Keeps what it stores in a file, which all replicas of all nodes share as they would a database."""

    path: Path | None = None

    async def save(
        self, answers: Sequence[Prediction | InsufficientData], *, actor: str, action: str, request_ids: Sequence[str]
    ) -> None:
        assert self.path is not None
        lines = [
            f"{answer.prediction_id} {answer.role} {answer.challenge_id or '-'}"
            for answer in answers
            if isinstance(answer, Prediction)
        ]
        _append(self.path, lines)


@dataclass
class FileChallengeStore(FakeChallengeStore):
    """The challenge is what a file says, and what is stored goes to another one."""

    home: Path | None = None

    async def current(self) -> Challenge | None:
        assert self.home is not None
        path = self.home / CHALLENGE_FILE
        setting = json.loads(path.read_text()) if path.is_file() else None
        return None if setting is None else Challenge(**setting)

    async def save_shadows(self, shadows: Sequence[ShadowPrediction], *, challenge_id: str) -> None:
        assert self.home is not None
        lines = [f"{pair.beside.prediction_id} {pair.said.model_version} {challenge_id}" for pair in shadows]
        _append(self.home / SHADOW_FILE, lines)


@dataclass(frozen=True)
class PacedModels:
    """The models of `FileChampion`, each of which takes its time per student."""

    models: FileChampion
    home: Path

    def fetch(self, wanted: str) -> ModelFiles:
        outage = self.home / OUTAGE_FILE
        if outage.is_file() and outage.read_text() != str(os.getpid()):
            raise DependencyDownError("The registry is down.", dependency=MODEL_REGISTRY)
        if wanted == CHALLENGER:
            wanted = (self.home / CHALLENGER).read_text() if (self.home / CHALLENGER).is_file() else "none"
        if wanted in (RAISES, SLEEPS, EATS):
            return ModelFiles(ModelVersion(wanted), self.home)
        return self.models.fetch(wanted)

    def kept(self, wanted: str) -> ModelFiles | None:
        return self.models.kept(wanted)

    def load(self, files: ModelFiles) -> LoadedModel:
        if files.version in (RAISES, SLEEPS, EATS):
            return dataclasses.replace(TRANSPARENT, score=_Wrong(files.version))
        model = self.models.load(files)

        def score(batch: SequenceBatch) -> Scores:
            time.sleep(float((self.home / PACE_FILE).read_text()) * batch.n_examples)
            return model.score(batch)

        return dataclasses.replace(model, score=score)


class _Wrong:
    """A model that is well until it has passed its self-test."""

    def __init__(self, how: str) -> None:
        self._how = how
        self._tested = False
        self._eaten: list[bytearray] = []

    def __call__(self, batch: SequenceBatch) -> Scores:
        if not self._tested:
            self._tested = True
            return transparent_score(batch)
        if self._how == SLEEPS:
            time.sleep(3600)
        while self._how == EATS:
            self._eaten.append(bytearray(16 * 2**20))
        raise RuntimeError("a model that raises")


class LoadedComponents(FakeComponents):
    """`FakeComponents` without an answer cache, over `STUDENT_IDS`, at the pace of `PACE_FILE`."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / "champion")
        self._home = home

    def config(self, args: AppArgs) -> ServingConfig:
        return dataclasses.replace(super().config(args), cache_ttl_s=0)

    async def open_stores(self, config: ServingConfig, clock: Clock) -> Stores:
        district = FakeDistrict()
        for number, name in enumerate(STUDENT_IDS):
            district.keys[StudentId(name)] = key = StudentKey(1_000 + number)
            district.features.put(key, student_block(number / N_STUDENTS), through_week=LAST_WEEK)
        known = frozenset(district.keys)
        store = FilePredictionStore(known=known, path=self._home / STORED_FILE)

        async def close() -> None: ...

        return Stores(
            reader=district.reader,
            features=district.features,
            predictions=store,
            challenges=FileChallengeStore(known=known, home=self._home),
            cache=district.cache,
            training=FakeRunStore(clock),
            past=district.past,
            feedback=district.feedback,
            ping=district.ping,
            close=close,
        )

    def model_source(self, config: ServingConfig) -> ModelSource:
        return PacedModels(FileChampion(self._home / "champion"), self._home)


def build(args: AppArgs) -> Application:
    """The application of `serve_config.yaml` over `LoadedComponents`."""
    from deployments.app import bind_graph

    assert args.home is not None
    return bind_graph(args, LoadedComponents(args.home))
