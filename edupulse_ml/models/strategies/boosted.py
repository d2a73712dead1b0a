"""LightGBM on the aggregates of a window, one booster per task (sources.md 6.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.aggregates import sequence_aggregates
from edupulse_ml.models.boosters import TASKS_FILE, TaskBoosters
from edupulse_ml.models.strategies.calibrated import (
    CalibratedStrategy,
    CommonParts,
    RawScores,
    no_attention,
    no_hazards,
)


@dataclass(frozen=True, kw_only=True)
class BoostedModel(CalibratedStrategy):
    """Calibrated boosters. A folder of text and arrays, no pickle."""

    trees: TaskBoosters

    @property
    def strategy(self) -> str:
        return "boosted"

    def raw_scores(self, batch: SequenceBatch) -> RawScores:
        logits = self.trees.logits(sequence_aggregates(batch, self.norms))
        return RawScores(logits, no_hazards(batch), no_attention(batch))

    def save(self, directory: Path) -> float:
        """Write the folder; 0, because LightGBM's text keeps every digit."""
        self.save_common(directory)
        self.trees.save(directory)
        return 0.0

    @classmethod
    def load(cls, directory: Path, *, threads: int = 1) -> Self:
        """Read what `save` wrote; `threads` bounds one prediction, 0 meaning all cores.

        Raises:
            NotFoundError: the folder is not a complete model.
        """
        common, _ = CommonParts.load(directory, own_files=(TASKS_FILE,))
        return cls(**common.as_fields(), trees=TaskBoosters.load(directory, threads=threads))
