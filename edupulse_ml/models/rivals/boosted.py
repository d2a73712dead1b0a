"""LightGBM on sequence aggregates: the honest rival (sources.md 4.3, 6.1)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Task
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.aggregates import AGGREGATE_NAMES, aggregate_steps, monotone_directions, sequence_aggregates
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.labels import LabelledSteps, labelled_steps, require_both_classes
from edupulse_ml.models.protocol import Progress, TrainingData

_TASKS_FILE: Final = "tasks.json"


@dataclass(frozen=True)
class BoostedOptions:
    """`max_rows` student-weeks are sampled from training, a quarter of that from validation; `feature_share` of the
    columns and `row_share` of the student-weeks are drawn for each tree; `monotone` holds the contract's directions;
    `threads` 0 means all cores.
    """

    rounds: int = 500
    patience: int = 40
    learning_rate: float = 0.05
    leaves: int = 15
    min_rows_in_leaf: int = 50
    feature_share: float = 0.5
    row_share: float = 0.8
    l2: float = 5.0
    max_rows: int = 100_000
    monotone: bool = False
    threads: int = 0


@dataclass(frozen=True)
class LearningTables:
    """Aggregates [R, D] of sampled student-weeks with their labels [R] by task, to learn from; and those of the
    validation cohort, which say when to stop.
    """

    rows: NDArray[np.float32]
    labels: Mapping[str, NDArray[np.int8]]
    check_rows: NDArray[np.float32]
    check_labels: Mapping[str, NDArray[np.int8]]


def learning_tables(
    train: TrainingData,
    validation: TrainingData,
    *,
    tasks: Sequence[Task],
    window_weeks: int,
    norms: InputNorms,
    max_rows: int,
    seed: int,
) -> LearningTables:
    """What one booster per task is fitted on.

    Raises:
        NotEnoughDataError: a task has hardly any events or non-events in training.
    """
    steps = labelled_steps(train, tasks=tasks, max_rows=max_rows, seed=seed)
    for task in tasks:
        require_both_classes(steps, task=task.name, model=Boosted.name)
    check = labelled_steps(validation, tasks=tasks, max_rows=max(1, max_rows // 4), seed=seed)

    def table(data: TrainingData, of: LabelledSteps) -> NDArray[np.float32]:
        return aggregate_steps(data, student=of.student, step=of.step, window_weeks=window_weeks, norms=norms)

    return LearningTables(table(train, steps), steps.labels, table(validation, check), check.labels)


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
        norms = self._norms = self._norms or InputNorms.fit(train)
        tables = learning_tables(
            train,
            validation,
            tasks=tasks,
            window_weeks=window_weeks,
            norms=norms,
            max_rows=self._options.max_rows,
            seed=seed,
        )
        self.fit_tables(tables, tasks=tasks, seed=seed, progress=progress)

    def fit_tables(self, tables: LearningTables, *, tasks: Sequence[Task], seed: int, progress: Progress) -> None:
        """Fit one booster per task on tables made before."""
        for task in tasks:
            dataset = _dataset(tables.rows, tables.labels[task.name])
            check = _dataset(tables.check_rows, tables.check_labels[task.name], reference=dataset)
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
            "min_data_in_leaf": options.min_rows_in_leaf,
            "feature_fraction": options.feature_share,
            "bagging_fraction": options.row_share,
            "bagging_freq": 1,
            "lambda_l2": options.l2,
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


def _dataset(rows: NDArray[np.float32], labels: NDArray[np.int8], reference: lgb.Dataset | None = None) -> Any:
    """The labelled rows as a LightGBM data set; None for a validation set without both classes."""
    known = np.flatnonzero(labels != LABEL_UNKNOWN)
    if reference is not None and len(np.unique(labels[known])) < 2:
        return None
    return lgb.Dataset(
        rows[known],
        label=labels[known],
        feature_name=[f"c{i}" for i in range(len(AGGREGATE_NAMES))],
        reference=reference,
        free_raw_data=True,
    )
