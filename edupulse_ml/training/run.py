"""The state of one training run: network, optimiser, averaged weights, best epoch. Local and Ray runs drive it."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.training_runs import EPOCH_SECONDS
from edupulse_ml.models.gru import RiskNet, hazard_range
from edupulse_ml.training.chunks import Shard, epoch_batches
from edupulse_ml.training.data import PreparedTraining
from edupulse_ml.training.epoch import EveryStepHazards, WeightAverage, run_epoch, validate
from edupulse_ml.training.options import TrainingOptions

CHECKPOINT_FILE: Final = "run.pt"
Wrap = Callable[[nn.Module], nn.Module]
Mean = Callable[[float], float]


@dataclass(frozen=True)
class FitResult:
    """`weights` of the best epoch (averaged), its 1-based number, and the metrics of every epoch."""

    weights: dict[str, Tensor]
    best_epoch: int
    history: tuple[dict[str, float], ...]

    def network(self, options: TrainingOptions) -> RiskNet:
        """The network with the best weights, ready to score."""
        with torch.random.fork_rng(devices=[]):
            network = RiskNet(options.network)
        network.load_state_dict(self.weights)
        return network.eval()


class TrainingRun:
    """One worker's side of a run. Every random draw follows from the seed and the epoch, so that a resumed run goes
    the way an uninterrupted one would have gone.
    """

    def __init__(
        self,
        prepared: PreparedTraining,
        options: TrainingOptions,
        *,
        task: Task,
        shard: Shard = Shard(),  # noqa: B008 - frozen
        device: str = "cpu",
        wrap: Wrap = lambda module: module,
        mean_over_workers: Mean = lambda value: value,
    ) -> None:
        """`wrap` readies the training module for data parallelism, `mean_over_workers` averages a figure.

        Raises:
            InvalidInputError: `task` is not made of hazard intervals.
        """
        hazard_range(task)
        self._prepared, self._options, self._task, self._shard = prepared, options, task, shard
        self._device = torch.device(device)
        self._mean = mean_over_workers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            network = RiskNet(options.network)
            network.start_from(torch.from_numpy(prepared.base_hazard.copy()))
        self._network = network.to(self._device)
        self._model = wrap(EveryStepHazards(self._network))
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self._average = WeightAverage(self._network, decay=options.ema_decay)
        self._averaged = copy.deepcopy(self._network)
        self._best = copy.deepcopy(self._average.weights)
        self._best_score, self._best_epoch = float("-inf"), 0
        self._history: list[dict[str, float]] = []

    @property
    def epochs_done(self) -> int:
        return len(self._history)

    @property
    def finished(self) -> bool:
        """All epochs are done, or `patience` of them brought nothing."""
        done = self.epochs_done
        return done >= self._options.epochs or done - self._best_epoch >= self._options.patience

    @property
    def result(self) -> FitResult:
        weights = {name: value.cpu() for name, value in self._best.items()}
        return FitResult(weights, self._best_epoch, tuple(self._history))

    def next_epoch(self) -> dict[str, float]:
        """Train one epoch and validate the averaged weights; the epoch's metrics."""
        options, epoch = self._options, self.epochs_done + 1
        started = time.perf_counter()
        batches = epoch_batches(
            self._prepared,
            window_weeks=options.window_weeks,
            batch_size=options.batch_size,
            seed=(options.seed, epoch),
            shard=self._shard,
        )
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(options.seed * 1_000_003 + epoch * 1009 + self._shard.rank)
            loss = run_epoch(
                self._model,
                batches,
                self._optimiser,
                average=self._average,
                network=self._network,
                gradient_norm=options.gradient_norm,
                device=self._device,
            )
        self._averaged.load_state_dict(self._average.weights)
        metrics = validate(self._averaged, self._prepared, task=self._task, device=self._device)
        if metrics.score > self._best_score:
            self._best_score, self._best_epoch = metrics.score, epoch
            self._best = copy.deepcopy(self._average.weights)
        report = {
            "epoch": float(epoch),
            "train_loss": self._mean(loss),
            "validation_loss": metrics.loss,
            "validation_average_precision": metrics.average_precision,
            "validation_roc_auc": metrics.roc_auc,
            "best_epoch": float(self._best_epoch),
            EPOCH_SECONDS: time.perf_counter() - started,
        }
        self._history.append(report)
        return report

    def save(self, directory: Path) -> None:
        """Write a checkpoint from which `resume` goes on."""
        state = {
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "average": self._average.weights,
            "average_updates": self._average.updates,
            "best": self._best,
            "best_score": self._best_score,
            "best_epoch": self._best_epoch,
            "history": self._history,
        }
        torch.save(state, directory / CHECKPOINT_FILE)

    def resume(self, directory: Path) -> None:
        """Go on from a checkpoint written by `save`."""
        state: dict[str, Any] = torch.load(directory / CHECKPOINT_FILE, weights_only=True, map_location=self._device)
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._average.weights = state["average"]
        self._average.updates = state["average_updates"]
        self._best, self._best_score = state["best"], state["best_score"]
        self._best_epoch, self._history = state["best_epoch"], state["history"]


def read_result(directory: Path) -> FitResult:
    """The result held in a checkpoint."""
    state: dict[str, Any] = torch.load(directory / CHECKPOINT_FILE, weights_only=True, map_location="cpu")
    return FitResult(state["best"], state["best_epoch"], tuple(state["history"]))
