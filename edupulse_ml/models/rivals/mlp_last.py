"""A perceptron on the last week alone: what is lost without the sequence (sources.md 4.3)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURES, MODALITIES
from edupulse_ml.core.errors import InvalidInputError, NotEnoughDataError
from edupulse_ml.core.outcomes import N_HAZARDS, Task, hazard_targets, interval_probability
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.gru import hazard_range, masked_hazard_loss
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.labels import labelled_steps, last_step
from edupulse_ml.models.protocol import Progress, TrainingData, labelled_rows

_INPUTS: Final = len(FEATURES) + len(MODALITIES) + len(AUX_COLUMNS) + len(CONTEXT_COLUMNS)
_HIDDEN: Final = 64
_BATCH: Final = 1024
_MAX_ROWS: Final = 200_000


class MlpLast:
    """Two hidden layers on the scored week's inputs, with the network's hazards and loss."""

    name = "mlp_last_week"

    def __init__(self, norms: InputNorms | None = None, *, epochs: int = 20, patience: int = 4) -> None:
        """`norms` of the training cohort, where they are known already; else they are fitted."""
        self._norms = norms
        self._epochs = epochs
        self._patience = patience
        self._tasks: tuple[Task, ...] = ()
        self._network = _network()

    def fit(
        self,
        train: TrainingData,
        validation: TrainingData,
        *,
        tasks: Sequence[Task],
        window_weeks: int,  # noqa: ARG002 - only the last week is read
        seed: int,
        progress: Progress,
    ) -> None:
        """Fit until the hazard loss on the validation cohort stops falling.

        Raises:
            NotEnoughDataError: training or validation holds no known hazard interval, or training no event.
            InvalidInputError: a task is not made of hazard intervals.
        """
        for task in tasks:
            hazard_range(task)
        norms = self._norms = self._norms or InputNorms.fit(train)
        learn = _tensors(train, norms, seed=seed, max_rows=_MAX_ROWS)
        check = _tensors(validation, norms, seed=seed, max_rows=_MAX_ROWS // 4)
        if learn[1].sum() < 1 or check[2].sum() < 1:
            msg = f"Model {self.name} found {int(learn[1].sum())} events in training: it needs at least one, and a followed-up validation cohort."
            raise NotEnoughDataError(msg)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = _network()
            self._descend(learn, check, progress)
        self._tasks = tuple(tasks)

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Probability per task.

        Raises:
            InvalidInputError: the model is not fitted.
        """
        if self._norms is None or not self._tasks:
            msg = f"Model {self.name} has not been fitted: call `fit` or `load` before `predict`."
            raise InvalidInputError(msg)
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(_inputs(last_step(batch), self._norms)))
        hazards = torch.sigmoid(logits.double()).numpy()
        return {task.name: interval_probability(hazards, task) for task in self._tasks}

    def save(self, directory: Path) -> None:
        """Write weights, tasks and norms.

        Raises:
            InvalidInputError: the model is not fitted.
        """
        if self._norms is None:
            msg = f"Model {self.name} has not been fitted: there is nothing to save."
            raise InvalidInputError(msg)
        directory.mkdir(parents=True, exist_ok=True)
        self._norms.save(directory / "norms.npz")
        tasks = [[task.name, task.start_day, task.end_day] for task in self._tasks]
        torch.save({"network": self._network.state_dict(), "tasks": tasks}, directory / "mlp.pt")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        model = cls(InputNorms.load(directory / "norms.npz"))
        stored = torch.load(directory / "mlp.pt", weights_only=True)
        model._network.load_state_dict(stored["network"])
        model._tasks = tuple(Task(*task) for task in stored["tasks"])
        return model

    def _descend(
        self, learn: tuple[Tensor, Tensor, Tensor], check: tuple[Tensor, Tensor, Tensor], progress: Progress
    ) -> None:
        optimiser = torch.optim.AdamW(self._network.parameters(), lr=1e-3, weight_decay=1e-2)
        best, best_loss, since = self._network.state_dict(), float("inf"), 0
        for epoch in range(self._epochs):
            self._network.train()
            for rows in torch.randperm(len(learn[0])).split(_BATCH):
                optimiser.zero_grad()
                inputs, target, weight = (tensor[rows] for tensor in learn)
                masked_hazard_loss(self._network(inputs), target, weight).backward()
                optimiser.step()
            self._network.eval()
            with torch.inference_mode():
                loss = float(masked_hazard_loss(self._network(check[0]), check[1], check[2]))
            progress({"epoch": float(epoch + 1), "validation_loss": loss})
            since += 1
            if loss < best_loss:
                best_loss, since = loss, 0
                best = {name: value.clone() for name, value in self._network.state_dict().items()}
            if since >= self._patience:
                break
        self._network.load_state_dict(best)
        self._network.eval()


def _network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(_INPUTS, _HIDDEN),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Linear(_HIDDEN, _HIDDEN),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Linear(_HIDDEN, N_HAZARDS),
    ).eval()


def _inputs(last: SequenceBatch, norms: InputNorms) -> NDArray[np.float32]:
    """[B, F + M + A + C] of windows of length 1."""
    inputs = norms.prepare(last)
    return np.concatenate([inputs.z[:, 0], inputs.mask[:, 0], inputs.aux[:, 0], inputs.context], axis=1)


def _tensors(data: TrainingData, norms: InputNorms, *, seed: int, max_rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, hazard targets and known intervals of a sample of the eligible weeks."""
    steps = labelled_steps(data, tasks=(), max_rows=max_rows, seed=seed)
    rows = labelled_rows(data, student=steps.student, step=steps.step, window_weeks=1)
    target, known = hazard_targets(rows.outcomes, cutoff_day=rows.cutoff_day)
    return torch.from_numpy(_inputs(rows.batch, norms)), torch.from_numpy(target), torch.from_numpy(known)
