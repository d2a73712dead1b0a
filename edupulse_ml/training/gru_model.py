"""The risk network as a `RiskModel`, beside its rivals: uncalibrated, trained in this process."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Task, interval_probability
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.engines import TorchEngine
from edupulse_ml.models.gru import RiskNet, RiskNetConfig, hazard_range
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.protocol import Progress, TrainingData
from edupulse_ml.training.data import prepare_training, require_enough_students
from edupulse_ml.training.local import fit_local
from edupulse_ml.training.options import TrainingOptions

_EXAMPLES_PER_RUN = 1024


class GruRiskModel:
    """Three GRUs with attention; one fit answers every task that is made of its hazard intervals."""

    name = "gru"

    def __init__(self, norms: InputNorms | None = None, *, options: TrainingOptions | None = None) -> None:
        """`norms` of the training cohort, where they are known already; else they are fitted."""
        self._norms = norms
        self._options = options or TrainingOptions()
        self._tasks: tuple[Task, ...] = ()
        self._network: RiskNet | None = None

    def fit(
        self,
        train: TrainingData,
        validation: TrainingData,
        *,
        tasks: Sequence[Task],
        window_weeks: int,
        seed: int,
        progress: Progress,
    ) -> None:
        """Train, stopped by the validation ROC-AUC of `risk_score`, or of the first task where that is not asked.

        Raises:
            NotEnoughDataError: fewer than 1,000 students with 20 weeks (unless `allow_small`), or no event.
            InvalidInputError: no task, or one that is not made of hazard intervals.
        """
        stop_by = stopping_task(tasks)
        require_enough_students(train, allow_small=self._options.allow_small)
        options = replace(self._options, window_weeks=window_weeks, seed=seed)
        norms = self._norms = self._norms or InputNorms.fit(train)
        prepared = prepare_training(train, validation, norms=norms, task=stop_by, options=options)
        result = fit_local(prepared, options, task=stop_by, progress=progress)
        self._options, self._tasks, self._network = options, tuple(tasks), result.network(options)

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Probability per task.

        Raises:
            InvalidInputError: the model is not fitted.
        """
        network, norms = self._fitted()
        engine = TorchEngine(network)
        starts = range(0, max(batch.n_examples, 1), _EXAMPLES_PER_RUN)
        hazards = np.concatenate(
            [engine.run(norms.prepare(batch.select(slice(at, at + _EXAMPLES_PER_RUN)))).hazards for at in starts]
        )
        return {task.name: interval_probability(hazards, task) for task in self._tasks}

    def save(self, directory: Path) -> None:
        """Write weights, norms and tasks.

        Raises:
            InvalidInputError: the model is not fitted.
        """
        network, norms = self._fitted()
        directory.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), directory / "network.pt")
        norms.save(directory / "norms.npz")
        description = {"network": network.config.as_dict(), "tasks": [asdict(task) for task in self._tasks]}
        (directory / "gru.json").write_text(json.dumps(description))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        stored = json.loads((directory / "gru.json").read_text())
        network = RiskNet(RiskNetConfig(**stored["network"]))
        network.load_state_dict(torch.load(directory / "network.pt", weights_only=True))
        model = cls(InputNorms.load(directory / "norms.npz"))
        model._tasks = tuple(Task(**task) for task in stored["tasks"])
        model._network = network.eval()
        return model

    def _fitted(self) -> tuple[RiskNet, InputNorms]:
        if self._network is None or self._norms is None:
            msg = f"Model {self.name} has not been fitted: call `fit` or `load` first."
            raise InvalidInputError(msg)
        return self._network, self._norms


def stopping_task(tasks: Sequence[Task]) -> Task:
    """The task whose validation score stops training: `risk_score`, else the first.

    Raises:
        InvalidInputError: no task, or one that is not made of hazard intervals.
    """
    if not tasks:
        msg = "Training needs at least one task: none was given."
        raise InvalidInputError(msg)
    for task in tasks:
        hazard_range(task)
    return next((task for task in tasks if task.name == "risk_score"), tasks[0])
