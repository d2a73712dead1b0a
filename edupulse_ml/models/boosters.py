"""Fitted LightGBM boosters, one or several seeds of them per task: their mean logits and their files.

Legend: B examples, D aggregates.
"""

import json
from collections.abc import Mapping, Sequence
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
    """By task name, one booster per seed. `threads` bounds one prediction, 0 meaning all cores; several threads may ask
    at once.
    """

    boosters: Mapping[str, tuple[lgb.Booster, ...]]
    threads: int = 1

    @classmethod
    def of_seeds(cls, fits: Sequence[Mapping[str, lgb.Booster]]) -> Self:
        """Of fits that differ by their seed only, each by task name."""
        return cls({task: tuple(fit[task] for fit in fits) for task in (fits[0] if fits else ())})

    def logits(self, rows: Float32) -> dict[str, NDArray[np.float64]]:
        """[B] per task, of aggregates [B, D]."""
        return {task: self.logit(rows, task) for task in self.boosters}

    def logit(self, rows: Float32, task: str) -> NDArray[np.float64]:
        """[B] mean of the seeds' logits, of aggregates [B, D]."""
        if not len(rows):
            return np.zeros(0)
        of_seeds = [
            np.asarray(booster.predict(rows, raw_score=True, num_threads=self.threads), dtype=np.float64)
            for booster in self.boosters[task]
        ]
        return np.mean(of_seeds, axis=0).reshape(len(rows))

    def save(self, directory: Path) -> None:
        """Write LightGBM's text format, a file per task and seed, and how many seeds each task has."""
        (directory / TASKS_FILE).write_text(json.dumps({task: len(seeds) for task, seeds in self.boosters.items()}))
        for position, booster in enumerate(booster for seeds in self.boosters.values() for booster in seeds):
            (directory / _booster_file(position)).write_text(booster.model_to_string())

    @classmethod
    def load(cls, directory: Path, *, threads: int = 1) -> Self:
        """Read what `save` wrote, or a folder with a list of tasks, which have one seed each."""
        stored: dict[str, int] | list[str] = json.loads((directory / TASKS_FILE).read_text())
        seeds = stored if isinstance(stored, dict) else dict.fromkeys(stored, 1)
        position, boosters = 0, dict[str, tuple[lgb.Booster, ...]]()
        for task, count in seeds.items():
            files = [directory / _booster_file(position + seed) for seed in range(count)]
            boosters[task] = tuple(lgb.Booster(model_str=file.read_text()) for file in files)
            position += count
        return cls(boosters, threads)


def _booster_file(position: int) -> str:
    return f"booster-{position}.txt"
