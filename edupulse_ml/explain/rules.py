"""Makes the ABC rule explainable by its own conditions: each one that is met is a reason.

Legend: B students, T steps, F features, R rows of occlusion.
"""

import numpy as np
import torch

from edupulse_ml.core.contract import FEATURES
from edupulse_ml.core.sequences import Float32, SequenceBatch
from edupulse_ml.explain.explanation import ExplainedBatch
from edupulse_ml.explain.typical import typical_values
from edupulse_ml.models.labels import last_step
from edupulse_ml.models.rivals.abc_rule import INDICATOR_COLUMNS, none_of
from edupulse_ml.models.strategies.rules import RulesModel


class ExplainableRules:
    """`explanation.ExplainableModel` of a `RulesModel`.

    What a network reads as z-scores, the rule reads as switches: 1 at the scored week for a condition that is met, 0
    everywhere else. The baseline is a student who meets none. The rule counts, so conditions share its logit equally,
    which are their Shapley values.
    """

    def __init__(self, model: RulesModel) -> None:
        self._model = model
        rate = model.rule.rates(model.task.name)
        self._logit_of_level = np.log(rate) - np.log1p(-rate)

    def typical_values(self, batch: SequenceBatch) -> Float32:
        return typical_values(self._model.norms, batch)

    def attributed(self, batch: SequenceBatch) -> ExplainedBatch:
        rows, last = np.arange(batch.n_examples), np.maximum(batch.length - 1, 0)
        met, known = self._model.rule.conditions(last_step(batch))
        unknown = none_of(known)
        switches = np.zeros((*batch.week.shape, len(FEATURES)), dtype=np.float32)
        switches[rows[:, None], last[:, None], INDICATOR_COLUMNS] = met
        count = met.sum(axis=1)
        moved = self._logit_of_level[count] - self._logit_of_level[0]
        return ExplainedBatch(
            torch.from_numpy(switches),
            (switches * (moved / np.maximum(count, 1))[:, None, None]).astype(np.float32),
            lambda z_RTF, student: self._logit(z_RTF, unknown[student.numpy()]),
        )

    def _logit(self, z_RTF: torch.Tensor, unknown: np.ndarray) -> torch.Tensor:
        met = z_RTF.numpy()[:, :, INDICATOR_COLUMNS].max(axis=1, initial=0.0) > 0.5
        level = self._model.rule.level_of(met, unknown=unknown)
        return torch.from_numpy(self._logit_of_level[level].astype(np.float32))
