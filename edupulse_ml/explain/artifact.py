"""Makes a trained artefact explainable: its norms say who is typical, its torch network is differentiated."""

import numpy as np
import torch
from numpy.typing import NDArray

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.explain.attributions import RiskLogit
from edupulse_ml.explain.explanation import ExplainedBatch
from edupulse_ml.explain.networks import NetworkExplainer
from edupulse_ml.explain.typical import typical_values
from edupulse_ml.models.artifact import ModelArtifact


class ExplainableArtifact:
    """`explanation.ExplainableModel` of a `ModelArtifact`.

    The logit explained is that of the uncalibrated risk score: calibration is monotone, so signs and order are those
    of the score that is shown. It is differentiated on the network's device, and occluded on the artefact's engine.
    """

    def __init__(self, artifact: ModelArtifact) -> None:
        self._artifact = artifact
        self._explainer = NetworkExplainer(artifact.network, artifact.runner, artifact.task)

    def standardise(self, batch: SequenceBatch) -> NDArray[np.float32]:
        return self._artifact.norms.standardise(batch)

    def typical_values(self, batch: SequenceBatch) -> NDArray[np.float32]:
        return typical_values(self._artifact.norms, batch)

    def attributed(self, batch: SequenceBatch) -> ExplainedBatch:
        """Inputs and attributions of every example, and the logit that occlusion asks for."""
        inputs = self._artifact.norms.prepare(batch)
        return ExplainedBatch(
            torch.from_numpy(inputs.z), self._explainer.attributions(inputs), self._explainer.logit(inputs)
        )

    def risk_logit(self, batch: SequenceBatch) -> RiskLogit:
        """A differentiable function of z rows; the masks, channels and context are those of the batch's examples."""
        return self._explainer.differentiable(self._artifact.norms.prepare(batch))
