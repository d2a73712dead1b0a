"""Makes a trained artefact explainable: its norms say who is typical, its torch network is differentiated."""

import numpy as np
import torch
from numpy.typing import NDArray

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.explain.attributions import RiskLogit
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.gru import interval_logit


class ExplainableArtifact:
    """`explanation.ExplainableModel` of a `ModelArtifact`.

    The logit explained is that of the uncalibrated risk score: calibration is monotone, so signs and order are those
    of the score that is shown.
    """

    def __init__(self, artifact: ModelArtifact) -> None:
        self._artifact = artifact

    def standardise(self, batch: SequenceBatch) -> NDArray[np.float32]:
        return self._artifact.norms.standardise(batch)

    def typical_values(self, batch: SequenceBatch) -> NDArray[np.float32]:
        rows, last = np.arange(batch.n_examples), np.maximum(batch.length - 1, 0)
        return self._artifact.norms.typical_values(
            grade_level=batch.grade_level[rows, last], week_of_year=batch.week_of_school_year[rows, last]
        )

    def risk_logit(self, batch: SequenceBatch) -> RiskLogit:
        """A function of z rows; the masks, channels and context are those of the batch's examples."""
        network, task = self._artifact.network, self._artifact.task
        device = next(network.parameters()).device
        inputs = self._artifact.norms.prepare(batch)
        mask, aux, context, length = (
            torch.from_numpy(array).to(device) for array in (inputs.mask, inputs.aux, inputs.context, inputs.length)
        )

        def logit(z_RTF: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
            hazard_logits, _ = network(z_RTF.to(device), mask[student], aux[student], context[student], length[student])
            return interval_logit(hazard_logits, task)

        return logit
