"""Training data made ready once: standardised steps with hazard targets, and validation windows.

Legend: N students, S steps, R validation rows, T window, F features, M modalities, A aux, C context, K intervals.
"""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.outcomes import Task, hazard_targets
from edupulse_ml.core.sequences import FeatureBlock, Float32
from edupulse_ml.models.inputs import InputNorms, ModelInputs
from edupulse_ml.models.labels import LabelledSteps, labelled_steps
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, TrainingData, labelled_rows
from edupulse_ml.training.options import TrainingOptions

MINIMUM_STUDENTS: Final = 1000
MINIMUM_WEEKS: Final = 20

_PER_STEP: Final = ("z", "mask", "aux", "context", "target", "weight")
_STUDENTS_PER_PIECE: Final = 1000


@dataclass(frozen=True)
class PreparedTraining:
    """Arrays that an epoch reads; written to a folder for workers on other machines."""

    z: Float32
    """[N, S, F]"""
    mask: Float32
    """[N, S, M]"""
    aux: Float32
    """[N, S, A]"""
    context: Float32
    """[N, S, C]"""
    n_steps: NDArray[np.int64]
    """[N] real steps up to the last eligible one; what comes later is not learned from."""
    target: Float32
    """[N, S, K] 1 where the event falls in the interval."""
    weight: Float32
    """[N, S, K] 1 / the student's eligible steps where the interval is known and the step eligible, else 0."""
    base_hazard: Float32
    """[K] weighted mean of the targets."""
    validation_z: Float32
    """[R, T, F]"""
    validation_mask: Float32
    validation_aux: Float32
    validation_context: Float32
    """[R, C]"""
    validation_length: NDArray[np.int64]
    validation_label: NDArray[np.int8]
    """[R] label of the task that training is stopped by, `LABEL_UNKNOWN` where there is none."""
    validation_target: Float32
    """[R, K]"""
    validation_known: Float32
    """[R, K]"""

    def validation_inputs(self, rows: slice) -> ModelInputs:
        """Some of the validation windows as the network reads them."""
        return ModelInputs(
            self.validation_z[rows],
            self.validation_mask[rows],
            self.validation_aux[rows],
            self.validation_context[rows],
            self.validation_length[rows],
        )

    def digest(self) -> str:
        """12 hexadecimal digits that tell these data from others: records, labels, split and preparation. Steps that are
        not learned from do not count, so that a further week of the students of today changes nothing.
        """
        found = hashlib.sha256(repr(self.z.shape[2:]).encode())
        for item in fields(self):
            if item.name not in _PER_STEP:
                values = np.ascontiguousarray(getattr(self, item.name))
                found.update(f"{item.name} {values.dtype} {values.shape}".encode())
                found.update(values.tobytes())
        # In pieces, because the steps may take gigabytes.
        for at in range(0, len(self.n_steps), _STUDENTS_PER_PIECE):
            piece = slice(at, at + _STUDENTS_PER_PIECE)
            learned = np.arange(self.z.shape[1])[None, :] < self.n_steps[piece, None]
            for name in _PER_STEP:
                found.update(getattr(self, name)[piece][learned].tobytes())
        return found.hexdigest()[:12]

    def save(self, directory: Path) -> None:
        """Write one `.npy` per array into `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        for item in fields(self):
            np.save(directory / f"{item.name}.npy", getattr(self, item.name), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; arrays are mapped, not copied into memory."""
        arrays = {
            item.name: np.load(directory / f"{item.name}.npy", mmap_mode="c", allow_pickle=False)
            for item in fields(cls)
        }
        return cls(**arrays)


def students_with_enough_weeks(data: TrainingData) -> int:
    """Number of students with an eligible week that is at least their 20th."""
    return int(data.eligible[:, MINIMUM_WEEKS - 1 :].any(axis=1).sum())


def require_enough_students(data: TrainingData, *, allow_small: bool) -> None:
    """Return if training on `data` is worth its name, or if small experiments are allowed.

    Raises:
        NotEnoughDataError: fewer than 1,000 students have 20 or more weeks; the message says how many do.
    """
    students = students_with_enough_weeks(data)
    if students < MINIMUM_STUDENTS and not allow_small:
        msg = (
            f"Training needs {MINIMUM_STUDENTS:,} students with {MINIMUM_WEEKS} or more weeks of records, and there are "
            f"{students:,}: import more records, or allow small data (`allow_small`) for an experiment."
        )
        raise NotEnoughDataError(msg)


def prepare_training(
    train: TrainingData, validation: TrainingData, *, norms: InputNorms, task: Task, options: TrainingOptions
) -> PreparedTraining:
    """Standardise both cohorts with the norms of the first; `task` is the one that training is stopped by.

    Raises:
        NotEnoughDataError: no event in training, or no eligible student-week in validation.
    """
    block = train.block
    target, weight = _targets(train)
    total = weight.sum(axis=(0, 1))
    events = (target * weight).sum(axis=(0, 1))
    if not events.sum() > 0:
        msg = "There is no event in the training cohort's followed-up weeks: nothing can be learned from it; take a longer follow-up or an earlier cohort."
        raise NotEnoughDataError(msg)
    held_out = _validation_steps(validation, task=task, options=options)
    if not len(held_out.student):
        msg = "The validation cohort has no eligible student-week: check its dates."
        raise NotEnoughDataError(msg)
    rows = labelled_rows(validation, student=held_out.student, step=held_out.step, window_weeks=options.window_weeks)
    inputs = norms.prepare(rows.batch)
    validation_target, validation_known = hazard_targets(rows.outcomes, cutoff_day=rows.cutoff_day)
    return PreparedTraining(
        z=_standardised(block, norms),
        mask=block.mask.astype(np.float32),
        aux=np.nan_to_num(block.aux, nan=0.0).astype(np.float32),
        context=norms.standardise_context(block.context),
        n_steps=_last_eligible(train.eligible),
        target=target,
        weight=weight,
        base_hazard=(events / np.maximum(total, 1e-9)).astype(np.float32),
        validation_z=inputs.z,
        validation_mask=inputs.mask,
        validation_aux=inputs.aux,
        validation_context=inputs.context,
        validation_length=inputs.length,
        validation_label=held_out.labels[task.name],
        validation_target=validation_target,
        validation_known=validation_known,
    )


def _validation_steps(validation: TrainingData, *, task: Task, options: TrainingOptions) -> LabelledSteps:
    """A seeded sample of the eligible student-weeks with a label of `task`; of all of them where none has one."""
    every = labelled_steps(validation, tasks=[task])
    rows = every.known(task.name)
    if not len(rows):
        rows = np.arange(len(every.student))
    if len(rows) > options.validation_rows:
        rows = np.sort(np.random.default_rng(options.seed).choice(rows, options.validation_rows, replace=False))
    return every.take(rows)


def _standardised(block: FeatureBlock, norms: InputNorms) -> Float32:
    return norms.standardise_steps(
        values=block.values, support=block.support, aux=block.aux, grade_level=block.grade_level
    )


def _targets(data: TrainingData) -> tuple[Float32, Float32]:
    """Hazard targets [N, S, K] and weights: known, eligible, and every student counting alike."""
    students, steps = data.block.week.shape
    cutoff = (data.block.week + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32).ravel()
    repeated = data.outcomes.select(np.repeat(np.arange(students, dtype=np.int32), steps))
    target, known = hazard_targets(repeated, cutoff_day=cutoff)
    share = data.eligible / np.maximum(data.eligible.sum(axis=1, keepdims=True), 1)
    weight = known.reshape(students, steps, -1) * share[:, :, None]
    return target.reshape(students, steps, -1), weight.astype(np.float32)


def _last_eligible(eligible: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[N] position after the last eligible step, 0 without one."""
    steps = eligible.shape[1]
    reached = steps - eligible[:, ::-1].argmax(axis=1)
    return np.where(eligible.any(axis=1), reached, 0).astype(np.int64)
