"""Makes a trained artefact explainable: its norms say who is typical, its torch network is differentiated."""

import numpy as np
import torch
from numpy.typing import NDArray

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.explain.attributions import PATH_POINTS, RiskLogit, integrated_gradients
from edupulse_ml.explain.explanation import ExplainedBatch
from edupulse_ml.explain.recurrent_path import RecurrentPath, attributions_to_tolerance
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.gru import interval_logit
from edupulse_ml.models.inputs import ModelInputs


class ExplainableArtifact:
    """`explanation.ExplainableModel` of a `ModelArtifact`.

    The logit explained is that of the uncalibrated risk score: calibration is monotone, so signs and order are those
    of the score that is shown. It is differentiated on the network's device, and occluded on the artefact's engine.
    """

    def __init__(self, artifact: ModelArtifact) -> None:
        self._artifact = artifact
        on_cpu = next(artifact.network.parameters()).device.type == "cpu"
        self._path = RecurrentPath(artifact.network, artifact.task) if on_cpu else None

    def standardise(self, batch: SequenceBatch) -> NDArray[np.float32]:
        return self._artifact.norms.standardise(batch)

    def typical_values(self, batch: SequenceBatch) -> NDArray[np.float32]:
        rows, last = np.arange(batch.n_examples), np.maximum(batch.length - 1, 0)
        return self._artifact.norms.typical_values(
            grade_level=batch.grade_level[rows, last], week_of_year=batch.week_of_school_year[rows, last]
        )

    def attributed(self, batch: SequenceBatch) -> ExplainedBatch:
        """Inputs and attributions of every example, and the logit that occlusion asks for."""
        inputs = self._artifact.norms.prepare(batch)
        z_BTF = torch.from_numpy(inputs.z)
        logit = self._engine_logit(inputs)
        if self._path is None:
            attribution = integrated_gradients(self._network_logit(inputs), z_BTF, path_points=PATH_POINTS)
        else:
            attribution = attributions_to_tolerance(self._path, inputs, logit)
        return ExplainedBatch(z_BTF, attribution, logit)

    def risk_logit(self, batch: SequenceBatch) -> RiskLogit:
        """A differentiable function of z rows; the masks, channels and context are those of the batch's examples."""
        return self._network_logit(self._artifact.norms.prepare(batch))

    def _network_logit(self, inputs: ModelInputs) -> RiskLogit:
        network, task = self._artifact.network, self._artifact.task
        device = next(network.parameters()).device
        mask, aux, context, length = (
            torch.from_numpy(array).to(device) for array in (inputs.mask, inputs.aux, inputs.context, inputs.length)
        )

        def logit(z_RTF: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
            hazard_logits, _ = network(z_RTF.to(device), mask[student], aux[student], context[student], length[student])
            return interval_logit(hazard_logits, task)

        return logit

    def _engine_logit(self, inputs: ModelInputs) -> RiskLogit:
        """As `_network_logit`, on the engine that scores; its answer cannot be differentiated."""

        def logit(z_RTF: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
            rows = inputs.select(student.numpy(), z=z_RTF.numpy())
            return interval_logit(torch.from_numpy(self._artifact.run_prepared(rows).logits), self._artifact.task)

        return logit
