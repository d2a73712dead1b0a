"""The graph for tests under load: many students, a model of known pace, and stored predictions that outlive a node."""

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ray.serve import Application

from deployments.components import Stores
from deployments.model_slot import LoadedModel, ModelFiles, ModelSource, Scores
from deployments.settings import AppArgs, ServingConfig
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.ids import StudentId, StudentKey
from edupulse_ml.core.predictions import InsufficientData, Prediction
from edupulse_ml.core.sequences import SequenceBatch
from tests.fakes.serving import LAST_WEEK, FakeComponents, FakeDistrict, FileChampion, student_block
from tests.fakes.stores import FakePredictionStore
from tests.fakes.training import FakeRunStore

N_STUDENTS = 400
STUDENT_IDS = [f"L{number:03d}" for number in range(N_STUDENTS)]
PACE_FILE = "pace"
"""In the home folder: seconds that the model takes per student. A test may change it at any time."""
STORED_FILE = "stored-predictions"
"""In the home folder: one prediction id per line, stored before the answer leaves."""


def set_pace(home: Path, seconds_per_student: float) -> None:
    """From the next batch on, every replica takes `seconds_per_student`."""
    scratch = home / f"{PACE_FILE}.new"
    scratch.write_text(str(seconds_per_student))
    scratch.replace(home / PACE_FILE)


def stored_ids(home: Path) -> list[str]:
    """Ids of all stored predictions, in the order in which they were stored."""
    path = home / STORED_FILE
    return path.read_text().split() if path.is_file() else []


@dataclass
class FilePredictionStore(FakePredictionStore):
    """Keeps what it stores in a file, which all replicas of all nodes share as they would a database."""

    path: Path | None = None

    async def save(
        self, answers: Sequence[Prediction | InsufficientData], *, actor: str, action: str, request_ids: Sequence[str]
    ) -> None:
        assert self.path is not None
        lines = "".join(f"{answer.prediction_id}\n" for answer in answers if isinstance(answer, Prediction))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, lines.encode())
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class PacedModels:
    """The models of `FileChampion`, each of which takes its time per student."""

    models: FileChampion
    home: Path

    def fetch(self, wanted: str) -> ModelFiles:
        return self.models.fetch(wanted)

    def load(self, files: ModelFiles) -> LoadedModel:
        model = self.models.load(files)

        def score(batch: SequenceBatch) -> Scores:
            time.sleep(float((self.home / PACE_FILE).read_text()) * batch.n_examples)
            return model.score(batch)

        return dataclasses.replace(model, score=score)


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

        runs = FakeRunStore(clock)
        return Stores(
            district.reader,
            district.features,
            store,
            district.cache,
            runs,
            district.past,
            district.feedback,
            district.ping,
            close,
        )

    def model_source(self, config: ServingConfig) -> ModelSource:
        return PacedModels(FileChampion(self._home / "champion"), self._home)


def build(args: AppArgs) -> Application:
    """The application of `serve_config.yaml` over `LoadedComponents`."""
    from deployments.app import bind_graph

    assert args.home is not None
    return bind_graph(args, LoadedComponents(args.home))
