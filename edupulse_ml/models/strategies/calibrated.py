"""What all strategies beside the single network share: logits in, calibrated answers out.

Legend: B examples, T steps, K hazard intervals.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.outcomes import EARLY_TASK, Task
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.core.sequences import Float32, SequenceBatch
from edupulse_ml.models.calibration import Calibrator, load_calibrators, save_calibrators
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.scores import Scores
from edupulse_ml.models.terms import (
    MODEL_FILE,
    ModelTerms,
    require_files,
    require_this_release,
    terms_as_json,
    terms_from_json,
    write_strategy,
)

Float64 = NDArray[np.float64]
NORMS_FILE: Final = "norms.npz"
CALIBRATION_FILE: Final = "calibration.json"


@dataclass(frozen=True)
class RawScores:
    """Answers of B examples before calibration."""

    logits: Mapping[str, Float64]
    """[B] per task."""
    hazards: Float64
    """[B, K], or [B, 0]."""
    attention: Float32
    """[B, T], all 0 where nothing attends."""


@dataclass(frozen=True)
class CommonParts:
    """What every strategy's folder holds beside its own files."""

    norms: InputNorms
    calibrators: Mapping[str, Calibrator]
    terms: ModelTerms

    @classmethod
    def load(cls, directory: Path, *, own_files: tuple[str, ...]) -> "tuple[CommonParts, dict[str, Any]]":
        """The parts, and everything that `MODEL_FILE` says.

        Raises:
            NotFoundError: one of these files or of `own_files` is missing.
        """
        require_files(directory, (MODEL_FILE, NORMS_FILE, CALIBRATION_FILE, *own_files))
        stored = json.loads((directory / MODEL_FILE).read_text())
        parts = cls(
            InputNorms.load(directory / NORMS_FILE),
            load_calibrators(directory / CALIBRATION_FILE),
            terms_from_json(stored),
        )
        return parts, stored

    def as_fields(self) -> dict[str, Any]:
        """Arguments of `CalibratedStrategy`."""
        terms = {item.name: getattr(self.terms, item.name) for item in fields(self.terms)}
        return {"norms": self.norms, "calibrators": self.calibrators, **terms}


@dataclass(frozen=True, kw_only=True)
class CalibratedStrategy(ABC):
    """A `ServableModel` of which a strategy says only `raw_scores`. `tasks` include the early-warning task."""

    norms: InputNorms
    calibrators: Mapping[str, Calibrator]
    contract: FeatureContract
    policy: CategoryPolicy
    task: Task
    tasks: tuple[Task, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    @abstractmethod
    def strategy(self) -> str:
        """Its name in `loading.SERVABLE`."""

    @abstractmethod
    def raw_scores(self, batch: SequenceBatch) -> RawScores:
        """Logits of every task. Row i depends on example i only."""

    def score(self, batch: SequenceBatch) -> Scores:
        """Calibrated scores, one per example.

        Raises:
            ContractMismatchError: this release's features are not those the model was trained on.
        """
        # The contract of a release never changes while it runs, so a match is found once.
        _ = self._matches_this_release
        raw = self.raw_scores(batch)
        return Scores(
            risk_score=self._calibrated(raw, self.task),
            risk_60plus=self._calibrated(raw, EARLY_TASK),
            hazards=raw.hazards,
            attention=raw.attention,
        )

    def predict(self, batch: SequenceBatch) -> Mapping[str, Float64]:
        """Calibrated probability per task; raises as `score` does."""
        _ = self._matches_this_release
        raw = self.raw_scores(batch)
        return {task.name: self._calibrated(raw, task) for task in self.tasks}

    def save_common(self, directory: Path, *, description: Mapping[str, Any] | None = None) -> None:
        """Write what `CommonParts.load` reads; `description` joins the terms in `MODEL_FILE`."""
        directory.mkdir(parents=True, exist_ok=True)
        self.norms.save(directory / NORMS_FILE)
        save_calibrators(self.calibrators, directory / CALIBRATION_FILE)
        text = json.dumps({**terms_as_json(self), **(description or {})}, indent=1)
        (directory / MODEL_FILE).write_text(text)
        write_strategy(directory, self.strategy)

    @cached_property
    def _matches_this_release(self) -> bool:
        require_this_release(self.contract)
        return True

    def _calibrated(self, raw: RawScores, task: Task) -> Float64:
        return self.calibrators[task.name].apply(sigmoid(raw.logits[task.name]))


def sigmoid(logit: Float64) -> Float64:
    """Probability of a logit; very negative ones give 0 without a warning."""
    return 1.0 / (1.0 + np.exp(np.minimum(-logit, 700.0)))


def no_attention(batch: SequenceBatch) -> Float32:
    """[B, T] of a strategy in which nothing attends."""
    return np.zeros(batch.week.shape, dtype=np.float32)


def no_hazards(batch: SequenceBatch) -> Float64:
    """[B, 0] of a strategy that answers tasks directly."""
    return np.zeros((batch.n_examples, 0))
