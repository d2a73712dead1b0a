"""LightGBM on sequence aggregates: the honest rival (science.md 4.3, 6.1)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.aggregates import AGGREGATE_NAMES, aggregate_steps, monotone_directions, sequence_aggregates
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.labels import LabelledSteps, labelled_steps, require_both_classes
from edupulse_ml.models.protocol import Progress, TrainingData

_TASKS_FILE: Final = "tasks.json"


@dataclass(frozen=True)
class BoostedOptions:
    """`max_rows` student-weeks are sampled from training, a quarter of that from validation; `monotone` holds the
    contract's directions; `threads` 0 means all cores.
    """

    rounds: int = 500
    patience: int = 40
    learning_rate: float = 0.05
    leaves: int = 15
    max_rows: int = 100_000
    monotone: bool = False
    threads: int = 0


class Boosted:
    """One binary LightGBM per task, stopped early by average precision on the validation cohort."""

    name = "lightgbm"

    def __init__(self, norms: InputNorms | None = None, *, options: BoostedOptions | None = None) -> None:
        """`norms` of the training cohort, where they are known already; else they are fitted."""
        self._norms = norms
        self._options = options or BoostedOptions()
        self._boosters: dict[str, lgb.Booster] = {}

    @property
    def boosters(self) -> Mapping[str, lgb.Booster]:
        """By task; empty before `fit`."""
        return self._boosters

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
        """Fit one booster per task.

        Raises:
            NotEnoughDataError: a task has hardly any events or non-events in training.
        """
        limit = self._options.max_rows
        steps = labelled_steps(train, tasks=tasks, max_rows=limit, seed=seed)
        for task in tasks:
            require_both_classes(steps, task=task.name, model=self.name)
        held_out = labelled_steps(validation, tasks=tasks, max_rows=max(1, limit // 4), seed=seed)
        norms = self._norms = self._norms or InputNorms.fit(train)

        def table(data: TrainingData, of: LabelledSteps) -> NDArray[np.float32]:
            return aggregate_steps(data, student=of.student, step=of.step, window_weeks=window_weeks, norms=norms)

        rows, held_out_rows = table(train, steps), table(validation, held_out)
        for task in tasks:
            dataset = _dataset(rows, steps, task.name)
            check = _dataset(held_out_rows, held_out, task.name, reference=dataset)
            booster = self._boost(dataset, check, seed=seed)
            self._boosters[task.name] = booster
            progress({"trees": float(booster.num_trees())})

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Probability per task.

        Raises:
            InvalidInputError: the model is not fitted.
        """
        if self._norms is None or not self._boosters:
            msg = f"Model {self.name} has not been fitted: call `fit` or `load` before `predict`."
            raise InvalidInputError(msg)
        rows = sequence_aggregates(batch, self._norms)
        threads = self._options.threads
        return {
            task: np.asarray(booster.predict(rows, num_threads=threads), dtype=np.float64)
            for task, booster in self._boosters.items()
        }

    def save(self, directory: Path) -> None:
        """Write LightGBM's text format and the norms.

        Raises:
            InvalidInputError: the model is not fitted.
        """
        if self._norms is None:
            msg = f"Model {self.name} has not been fitted: there is nothing to save."
            raise InvalidInputError(msg)
        directory.mkdir(parents=True, exist_ok=True)
        self._norms.save(directory / "norms.npz")
        (directory / _TASKS_FILE).write_text(json.dumps(list(self._boosters)))
        for position, booster in enumerate(self._boosters.values()):
            (directory / f"booster-{position}.txt").write_text(booster.model_to_string())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        model = cls(InputNorms.load(directory / "norms.npz"))
        for position, task in enumerate(json.loads((directory / _TASKS_FILE).read_text())):
            text = (directory / f"booster-{position}.txt").read_text()
            model._boosters[task] = lgb.Booster(model_str=text)
        return model

    def _boost(self, dataset: lgb.Dataset, check: lgb.Dataset | None, *, seed: int) -> lgb.Booster:
        options = self._options
        parameters: dict[str, Any] = {
            "objective": "binary",
            "metric": "average_precision",
            "learning_rate": options.learning_rate,
            "num_leaves": options.leaves,
            "min_data_in_leaf": 50,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 5.0,
            "max_bin": 63,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": options.threads,
            "verbosity": -1,
        }
        if options.monotone:
            parameters["monotone_constraints"] = list(monotone_directions())
        if check is None:
            # Without a label to stop on, a fixed modest number of trees.
            return lgb.train(parameters, dataset, num_boost_round=min(options.rounds, 150))
        stop = lgb.early_stopping(options.patience, verbose=False)
        return lgb.train(parameters, dataset, num_boost_round=options.rounds, valid_sets=[check], callbacks=[stop])


def _dataset(rows: NDArray[np.float32], steps: LabelledSteps, task: str, reference: lgb.Dataset | None = None) -> Any:
    """The labelled rows as a LightGBM data set; None for a validation set without both classes."""
    known = steps.known(task)
    labels = steps.labels[task][known]
    if reference is not None and len(np.unique(labels)) < 2:
        return None
    return lgb.Dataset(
        rows[known],
        label=labels,
        feature_name=[f"c{i}" for i in range(len(AGGREGATE_NAMES))],
        reference=reference,
        free_raw_data=True,
    )
