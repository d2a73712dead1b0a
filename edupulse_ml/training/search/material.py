"""What every trial of a search reads, made once and kept in a folder: all trials learn and are judged on the same rows.

Legend: R judged student-weeks, C tasks, D aggregate columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Task
from edupulse_ml.core.sequences import Float32
from edupulse_ml.evaluation.splits import monthly_landmarks
from edupulse_ml.models.aggregates import aggregate_steps
from edupulse_ml.models.inputs import InputNorms, ModelInputs
from edupulse_ml.models.labels import LabelledSteps, labelled_steps
from edupulse_ml.models.protocol import TrainingData, labelled_rows
from edupulse_ml.models.rivals.boosted import LearningTables, learning_tables
from edupulse_ml.training.data import PreparedTraining, prepare_training, require_enough_students
from edupulse_ml.training.gru_model import stopping_task
from edupulse_ml.training.strategies import Cohorts, StrategyOptions

JUDGED_ROWS: Final = 20_000
"""Landmarks that a trial is judged on, at most: a second of scoring, and more than a district of 20,000 has."""

Labels = NDArray[np.int8]


@dataclass(frozen=True)
class JudgedLabels:
    """Labels [R, C] of the landmarks by which trials are compared, `LABEL_UNKNOWN` where follow-up is too short."""

    tasks: tuple[str, ...]
    labels: Labels

    def mean_auc(self, probability: Mapping[str, NDArray[np.float64]]) -> float:
        """Mean ROC-AUC of the tasks that have both classes, NaN where none has."""
        found: list[float] = []
        for position, task in enumerate(self.tasks):
            label = np.asarray(self.labels[:, position])
            known = label != LABEL_UNKNOWN
            if len(np.unique(label[known])) == 2:
                found.append(float(roc_auc_score(label[known], probability[task][known])))
        return float(np.mean(found)) if found else float("nan")


@dataclass(frozen=True)
class NetworkMaterial:
    """Prepared training data with the longest window of the search, and the landmarks' windows of that length."""

    prepared: PreparedTraining
    windows: ModelInputs
    judged: JudgedLabels

    def with_window(self, weeks: int) -> "NetworkMaterial":
        """The same with shorter windows; training itself cuts the records anew in every epoch."""
        held = self.prepared
        rows = held.validation_inputs(slice(None)).latest(weeks)
        prepared = replace(
            held,
            validation_z=rows.z,
            validation_mask=rows.mask,
            validation_aux=rows.aux,
            validation_length=rows.length,
        )
        return replace(self, prepared=prepared, windows=self.windows.latest(weeks))

    def save(self, folder: Path) -> None:
        """Write arrays into `folder`."""
        self.prepared.save(folder / "prepared")
        _write(folder / "windows", {item.name: getattr(self.windows, item.name) for item in fields(self.windows)})
        _write(folder / "judged", {"labels": self.judged.labels})

    @classmethod
    def load(cls, folder: Path, *, tasks: Sequence[Task]) -> Self:
        """Read what `save` wrote; arrays are mapped, so that trials on one machine share them."""
        windows = {item.name: _read(folder / "windows", item.name) for item in fields(ModelInputs)}
        judged = JudgedLabels(_names(tasks), _read(folder / "judged", "labels"))
        return cls(PreparedTraining.load(folder / "prepared"), ModelInputs(**windows), judged)


@dataclass(frozen=True)
class BoostedMaterial:
    """Tables of one length of window, and the landmarks' aggregates [R, D]."""

    tables: LearningTables
    rows: Float32
    judged: JudgedLabels

    def save(self, folder: Path) -> None:
        """Write arrays into `folder`."""
        tasks = self.judged.tasks
        arrays = {
            "learned": self.tables.rows,
            "check": self.tables.check_rows,
            "learned_labels": np.stack([self.tables.labels[task] for task in tasks], axis=1),
            "check_labels": np.stack([self.tables.check_labels[task] for task in tasks], axis=1),
            "rows": self.rows,
            "labels": self.judged.labels,
        }
        _write(folder, arrays)

    @classmethod
    def load(cls, folder: Path, *, tasks: Sequence[Task]) -> Self:
        """Read what `save` wrote."""
        names = _names(tasks)

        def by_task(name: str) -> dict[str, Labels]:
            held = _read(folder, name)
            return {task: np.asarray(held[:, position]) for position, task in enumerate(names)}

        tables = LearningTables(
            _read(folder, "learned"), by_task("learned_labels"), _read(folder, "check"), by_task("check_labels")
        )
        return cls(tables, _read(folder, "rows"), JudgedLabels(names, _read(folder, "labels")))


def write_material(
    cohorts: Cohorts, *, tasks: Sequence[Task], base: StrategyOptions, windows: Sequence[int], folder: Path
) -> None:
    """Make and write what the trials of a search need, for every length of window.

    Trials are judged on landmarks (the first cutoff of each month) of the calibration cohort: people whom training never
    saw, in years before the test year. The test cohort is not even passed in.

    Raises:
        NotEnoughDataError: too few students or events to train.
    """
    training = base.champion.training
    require_enough_students(cohorts.train, allow_small=training.allow_small)
    norms = InputNorms.fit(cohorts.train)
    steps = judged_steps(cohorts.calibration, tasks=tasks, seed=training.seed)
    judged = JudgedLabels(_names(tasks), np.stack([steps.labels[task.name] for task in tasks], axis=1))

    def of_network() -> NetworkMaterial:
        options = replace(training, window_weeks=max(windows))
        prepared = prepare_training(
            cohorts.train, cohorts.calibration, norms=norms, task=stopping_task(tasks), options=options
        )
        chosen = labelled_rows(
            cohorts.calibration, student=steps.student, step=steps.step, window_weeks=options.window_weeks
        )
        return NetworkMaterial(prepared, norms.prepare(chosen.batch), judged)

    def of_trees(weeks: int) -> BoostedMaterial:
        tables = learning_tables(
            cohorts.train,
            cohorts.calibration,
            tasks=tasks,
            window_weeks=weeks,
            norms=norms,
            max_rows=base.boosted.max_rows,
            seed=training.seed,
        )
        rows = aggregate_steps(
            cohorts.calibration, student=steps.student, step=steps.step, window_weeks=weeks, norms=norms
        )
        return BoostedMaterial(tables, rows, judged)

    if base.strategy != "boosted":
        of_network().save(folder)
        return
    for weeks in windows:
        of_trees(weeks).save(trees_folder(folder, weeks))


def judged_steps(calibration: TrainingData, *, tasks: Sequence[Task], seed: int) -> LabelledSteps:
    """The landmarks of the cohort, at most `JUDGED_ROWS` of them."""
    landmarks = replace(calibration, eligible=monthly_landmarks(calibration.block, calibration.eligible))
    return labelled_steps(landmarks, tasks=tasks, max_rows=JUDGED_ROWS, seed=seed)


def trees_folder(folder: Path, weeks: int) -> Path:
    """Where the tables of one length of window lie."""
    return folder / f"window-{weeks}"


def _names(tasks: Sequence[Task]) -> tuple[str, ...]:
    return tuple(task.name for task in tasks)


def _write(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values, allow_pickle=False)


def _read(folder: Path, name: str) -> NDArray[Any]:
    return np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
