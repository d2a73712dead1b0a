"""The ABC rule of early-warning practice as a model that can be served: what a district without a model does by hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.rivals.abc_rule import AbcRule
from edupulse_ml.models.strategies.calibrated import (
    CalibratedStrategy,
    CommonParts,
    RawScores,
    no_attention,
    no_hazards,
)

_LEVELS: Final = "levels.json"


@dataclass(frozen=True, kw_only=True)
class RulesModel(CalibratedStrategy):
    """How many of the three indicators are met, as a calibrated probability. `norms` say who is typical, for sentences."""

    rule: AbcRule

    @property
    def strategy(self) -> str:
        return "rules"

    def raw_scores(self, batch: SequenceBatch) -> RawScores:
        rates = self.rule.predict(batch)
        logits = {task: np.log(rate) - np.log1p(-rate) for task, rate in rates.items()}
        return RawScores(logits, no_hazards(batch), no_attention(batch))

    def save(self, directory: Path) -> float:
        """Write the folder; 0, because the rule is served as it was fitted."""
        self.save_common(directory)
        self.rule.save(directory)
        return 0.0

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            NotFoundError: the folder is not a complete model.
        """
        common, _ = CommonParts.load(directory, own_files=(_LEVELS,))
        return cls(**common.as_fields(), rule=AbcRule.load(directory))
