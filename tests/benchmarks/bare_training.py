"""The loop that a PyTorch user writes: batches at hand, forward, loss, backward, step. Nothing averaged or clipped."""

from collections.abc import Sequence

import torch

from edupulse_ml.core.outcomes import Task
from edupulse_ml.models.gru import RiskNet, summed_hazard_loss
from edupulse_ml.training.chunks import TrainingBatch
from edupulse_ml.training.data import PreparedTraining
from edupulse_ml.training.epoch import validate
from edupulse_ml.training.options import TrainingOptions


class BareTraining:
    """The same network from the same first weights, the same optimiser and loss, on batches gathered beforehand."""

    def __init__(self, prepared: PreparedTraining, options: TrainingOptions) -> None:
        torch.manual_seed(options.seed)
        self.network = RiskNet(options.network)
        self.network.start_from(torch.from_numpy(prepared.base_hazard.copy()))
        self._prepared = prepared
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )

    def epoch(self, batches: Sequence[TrainingBatch]) -> None:
        """One pass over the batches."""
        self.network.train()
        for batch in batches:
            self._optimiser.zero_grad(set_to_none=True)
            logits = self.network.every_step(batch.z, batch.mask, batch.aux, batch.context)
            loss = summed_hazard_loss(logits, batch.target, batch.weight) / batch.mean_batch_weight
            loss.backward()
            self._optimiser.step()

    def validation_loss(self, task: Task) -> float:
        """Loss on the validation windows, as our runs measure it."""
        self.network.eval()
        return validate(self.network, self._prepared, task=task, device=torch.device("cpu")).loss
