"""One epoch, the same for a local run, Ray Train and Ray Tune; and the score that stops training."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Task, interval_probability
from edupulse_ml.models.engines import TorchEngine
from edupulse_ml.models.gru import RiskNet, masked_hazard_loss, summed_hazard_loss
from edupulse_ml.training.chunks import TrainingBatch
from edupulse_ml.training.data import PreparedTraining

ROWS_PER_RUN: Final = 2048
EveryStep = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class EveryStepHazards(nn.Module):
    """The network's training pass as a module of its own, which data parallelism can wrap."""

    def __init__(self, network: RiskNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, mask: Tensor, aux: Tensor, context: Tensor) -> Tensor:
        return self.network.every_step(z, mask, aux, context)


class WeightAverage:
    """Exponential moving average of the weights; young averages forget faster, so that short runs work too."""

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self.updates = 0
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        current = network.state_dict()
        for name, value in self.weights.items():
            value.lerp_(current[name], 1.0 - decay)


@dataclass(frozen=True)
class ValidationMetrics:
    """`average_precision` and `roc_auc` are NaN without both classes among the labelled rows."""

    loss: float
    average_precision: float
    roc_auc: float

    @property
    def score(self) -> float:
        """Higher is better: ROC-AUC, or minus the loss where there is none. Average precision moves with a handful of
        students, and the loss with the base rate of the year (docs/experiments.md).
        """
        return self.roc_auc if np.isfinite(self.roc_auc) else -self.loss


def run_epoch(
    model: nn.Module,
    batches: Iterable[TrainingBatch],
    optimiser: torch.optim.Optimizer,
    *,
    average: WeightAverage,
    network: RiskNet,
    gradient_norm: float,
    device: torch.device,
) -> float:
    """One pass over the batches; the mean training loss per unit of weight.

    `model` is an `EveryStepHazards`, wrapped for data parallelism or not, around `network`, whose weights `average`
    follows.
    """
    model.train()
    total, count = 0.0, 0
    for batch in batches:
        optimiser.zero_grad(set_to_none=True)
        logits = model(*(t.to(device) for t in (batch.z, batch.mask, batch.aux, batch.context)))
        summed = summed_hazard_loss(logits, batch.target.to(device), batch.weight.to(device))
        loss = summed / batch.mean_batch_weight
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), gradient_norm)
        optimiser.step()
        average.update(network)
        total, count = total + float(loss.detach()), count + 1
    return total / max(count, 1)


def validate(network: RiskNet, prepared: PreparedTraining, *, task: Task, device: torch.device) -> ValidationMetrics:
    """Metrics of `task` on the validation windows, scored at their last step."""
    engine = TorchEngine(network, device=str(device))
    rows = len(prepared.validation_length)
    runs = [
        engine.run(prepared.validation_inputs(slice(at, at + ROWS_PER_RUN))).logits
        for at in range(0, rows, ROWS_PER_RUN)
    ]
    logits = np.concatenate(runs)
    known = np.array(prepared.validation_known)
    target = np.array(prepared.validation_target)
    loss = masked_hazard_loss(torch.from_numpy(logits), torch.from_numpy(target), torch.from_numpy(known))
    score = interval_probability(1.0 / (1.0 + np.exp(-logits.astype(np.float64))), task)
    precision, auc = _ranking(score, np.asarray(prepared.validation_label))
    return ValidationMetrics(float(loss), precision, auc)


def _ranking(score: NDArray[np.float64], label: NDArray[np.int8]) -> tuple[float, float]:
    labelled = label != LABEL_UNKNOWN
    truth = label[labelled]
    if len(np.unique(truth)) < 2:
        return float("nan"), float("nan")
    return (
        float(average_precision_score(truth, score[labelled])),
        float(roc_auc_score(truth, score[labelled])),
    )
