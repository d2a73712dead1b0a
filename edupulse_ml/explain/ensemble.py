"""Makes the ensemble explainable: its logit is a weighted sum, and so are its attributions."""

from collections.abc import Sequence

import numpy as np
import torch

from edupulse_ml.core.sequences import Float32, SequenceBatch
from edupulse_ml.explain.attributions import RiskLogit
from edupulse_ml.explain.boosted import TreeExplainer, TreeWindows
from edupulse_ml.explain.explanation import ExplainedBatch
from edupulse_ml.explain.networks import NetworkExplainer
from edupulse_ml.explain.typical import typical_values
from edupulse_ml.models.strategies.ensemble import EnsembleModel


class ExplainableEnsemble:
    """`explanation.ExplainableModel` of an `EnsembleModel`. A kind of member without weight is not asked."""

    def __init__(self, model: EnsembleModel) -> None:
        members, stack = model.members, model.stacks[model.task.name]
        self._norms, self._intercept = model.norms, stack.intercept
        of_networks, self._of_trees = stack.weights
        self._of_network = of_networks / len(members.networks)
        self._networks = [
            NetworkExplainer(network, engine, model.task)
            for network, engine in zip(members.networks, members.runners, strict=True)
            if of_networks > 0
        ]
        self._trees = TreeExplainer(members.trees, task=model.task.name) if self._of_trees > 0 else None

    def typical_values(self, batch: SequenceBatch) -> Float32:
        return typical_values(self._norms, batch)

    def attributed(self, batch: SequenceBatch) -> ExplainedBatch:
        """The windows are standardised once for all members."""
        windows = TreeWindows.of(batch, self._norms.standardise(batch, keep_missing=True))
        inputs = self._norms.prepare(batch, z=windows.z)
        parts = [(self._of_network, each.attributions(inputs)) for each in self._networks]
        logits = [(self._of_network, each.logit(inputs)) for each in self._networks]
        if self._trees is not None:
            parts.append((self._of_trees, self._trees.attributions(windows)))
            logits.append((self._of_trees, self._trees.logit(windows)))
        attribution = np.zeros_like(windows.z)
        for weight, part in parts:
            attribution += np.float32(weight) * part
        return ExplainedBatch(torch.from_numpy(inputs.z), attribution, self._weighted(logits))

    def _weighted(self, logits: Sequence[tuple[float, RiskLogit]]) -> RiskLogit:
        def logit(z_RTF: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
            total = torch.full((len(student),), self._intercept)
            for weight, part in logits:
                total = total + weight * part(z_RTF, student)
            return total

        return logit
