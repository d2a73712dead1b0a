"""Attributions of one risk network, on a CPU by hand, elsewhere by autograd; and the logit that verifies them."""

import numpy as np
import torch
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import Task
from edupulse_ml.explain.attributions import PATH_POINTS, RiskLogit, integrated_gradients
from edupulse_ml.explain.recurrent_path import RecurrentPath, attributions_to_tolerance
from edupulse_ml.models.engines import InferenceEngine
from edupulse_ml.models.gru import RiskNet, interval_logit
from edupulse_ml.models.inputs import ModelInputs


class NetworkExplainer:
    """Explains the logit of `task`; `engine` scores, and is what occlusion asks."""

    def __init__(self, network: RiskNet, engine: InferenceEngine, task: Task) -> None:
        self._network, self._engine, self._task = network, engine, task
        on_cpu = next(network.parameters()).device.type == "cpu"
        self._path = RecurrentPath(network, task) if on_cpu else None

    def attributions(self, inputs: ModelInputs) -> NDArray[np.float32]:
        """[B, T, F] integrated gradients; a student's sum is f(student) - f(typical student)."""
        if self._path is None:
            return integrated_gradients(
                self.differentiable(inputs), torch.from_numpy(inputs.z), path_points=PATH_POINTS
            )
        return attributions_to_tolerance(self._path, inputs, self.logit(inputs))

    def differentiable(self, inputs: ModelInputs) -> RiskLogit:
        """The logit of rows of `inputs`, on the network's device."""
        device = next(self._network.parameters()).device
        mask, aux, context, length = (
            torch.from_numpy(array).to(device) for array in (inputs.mask, inputs.aux, inputs.context, inputs.length)
        )

        def logit(z_RTF: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
            parts = (mask[student], aux[student], context[student], length[student])
            hazard_logits, _ = self._network(z_RTF.to(device), *parts)
            return interval_logit(hazard_logits, self._task)

        return logit

    def logit(self, inputs: ModelInputs) -> RiskLogit:
        """As `differentiable`, on the engine that scores; its answer cannot be differentiated."""

        def logit(z_RTF: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
            rows = inputs.select(student.numpy(), z=z_RTF.numpy())
            size = self._engine.examples_per_run
            starts = range(0, max(len(rows.length), 1), size)
            parts = [self._engine.run(rows.select(slice(at, at + size))).logits for at in starts]
            return interval_logit(torch.from_numpy(np.concatenate(parts)), self._task)

        return logit
