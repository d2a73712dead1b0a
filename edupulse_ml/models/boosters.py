"""Fitted LightGBM boosters, one per task: their logits, their files, and their trees.

Legend: B examples, D aggregates.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.sequences import Float32

TASKS_FILE: Final = "tasks.json"


@dataclass(frozen=True)
class TaskBoosters:
    """By task name. `threads` bounds one prediction, 0 meaning all cores; several threads may ask at once."""

    boosters: Mapping[str, lgb.Booster]
    threads: int = 1

    def logits(self, rows: Float32) -> dict[str, NDArray[np.float64]]:
        """[B] per task, of aggregates [B, D]."""
        return {task: self.logit(rows, task) for task in self.boosters}

    def logit(self, rows: Float32, task: str) -> NDArray[np.float64]:
        """[B] of aggregates [B, D]."""
        if not len(rows):
            return np.zeros(0)
        found = self.boosters[task].predict(rows, raw_score=True, num_threads=self.threads)
        return np.asarray(found, dtype=np.float64).reshape(len(rows))

    def save(self, directory: Path) -> None:
        """Write LightGBM's text format, a file per task."""
        (directory / TASKS_FILE).write_text(json.dumps(list(self.boosters)))
        for position, booster in enumerate(self.boosters.values()):
            (directory / _booster_file(position)).write_text(booster.model_to_string())

    @classmethod
    def load(cls, directory: Path, *, threads: int = 1) -> Self:
        """Read what `save` wrote."""
        tasks: list[str] = json.loads((directory / TASKS_FILE).read_text())
        texts = [(directory / _booster_file(position)).read_text() for position in range(len(tasks))]
        return cls({task: lgb.Booster(model_str=text) for task, text in zip(tasks, texts, strict=True)}, threads)


def _booster_file(position: int) -> str:
    return f"booster-{position}.txt"
