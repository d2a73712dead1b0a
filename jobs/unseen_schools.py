"""`edupulse evaluate --schools`: models fitted without a school, judged on it; and students of whom little is known."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Task
from edupulse_ml.evaluation.generalisation import (
    HELD_OUT_SCHOOLS,
    NEW_DISTRICT,
    ComparedScores,
    Generalisation,
    compare_on_unseen,
    compare_short_records,
)
from edupulse_ml.evaluation.labels import evaluation_labels
from edupulse_ml.models.calibrated import CalibratedModel
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, TrainingData
from edupulse_ml.models.rivals.boosted import Boosted
from jobs.experiment import Experiment, Predict, landmarks, predict_rows

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Fit = Callable[[TrainingData, TrainingData], Predict]
"""From what may be learned from and what may be calibrated on to a model."""

SHORT_RECORD_WEEKS: Final = 4


@dataclass(frozen=True)
class SchoolOptions:
    """At most `max_schools` schools are held out one by one: drawn by the seed, whatever their size."""

    max_schools: int
    replicates: int
    seed: int


def boosted_trees(experiment: Experiment, *, seed: int) -> Fit:
    """LightGBM on aggregates, calibrated: the model that can be fitted once per school in minutes."""

    def fit(train: TrainingData, calibration: TrainingData) -> Predict:
        model = CalibratedModel(Boosted(), allow_small=True)
        model.fit(
            train,
            calibration,
            tasks=experiment.tasks,
            window_weeks=experiment.window_weeks,
            seed=seed,
            progress=lambda _: None,
        )
        return model.predict

    return fit


def judge_unseen_schools(
    experiment: Experiment, fit: Fit, *, name: str, options: SchoolOptions
) -> tuple[Generalisation, ...]:
    """Per task: each of some schools left out of fitting and judged; half of the schools judged by the other half.

    Both beside the model fitted on all schools, on the same student-weeks of the test people. A fold that has too few events to learn from is left out.

    Raises:
        NotEnoughDataError: the district has fewer than two schools, or too few events to learn from at all.
    """
    student, step = landmarks(experiment.test)
    school = experiment.test.block.school[student, step]
    schools = np.unique(school[school >= 0])
    if len(schools) < 2:
        msg = (
            "Generalisation to other schools needs at least two schools with students to judge: this district has one."
        )
        raise NotEnoughDataError(msg)
    rng = np.random.default_rng(options.seed)
    order = rng.permutation(schools)
    everything = _scores(fit(experiment.train, experiment.calibration), experiment, student, step)
    settings = {
        HELD_OUT_SCHOOLS: [np.asarray([one]) for one in order[: options.max_schools]],
        NEW_DISTRICT: [order[: len(order) // 2], order[len(order) // 2 :]],
    }
    found: list[Generalisation] = []
    for setting, folds in settings.items():
        unseen = {task.name: np.full(len(student), np.nan) for task in experiment.tasks}
        for rows, predict in _folds(experiment, fit, school, folds):
            part = _scores(predict, experiment, student[rows], step[rows])
            for task in experiment.tasks:
                unseen[task.name][rows] = part[task.name]
        for task in experiment.tasks:
            compared, n_schools = _compared(
                experiment, task, (student, step), unseen=unseen[task.name], seen=everything[task.name]
            )
            found.append(
                compare_on_unseen(
                    compared,
                    setting=setting,
                    model=name,
                    task=task.name,
                    n_schools=n_schools,
                    replicates=options.replicates,
                    seed=options.seed,
                )
            )
    return tuple(found)


def judge_short_records(
    experiment: Experiment, predict: Predict, *, name: str, replicates: int, seed: int
) -> tuple[Generalisation, ...]:
    """Per task: one model on test students with at most four weeks of record, beside those with more."""
    student, step = landmarks(experiment.test)
    scores = _scores(predict, experiment, student, step)
    found: list[Generalisation] = []
    for task in experiment.tasks:
        label, keep = _labels(experiment, task, student, step)
        found.append(
            compare_short_records(
                label[keep],
                scores[task.name][keep],
                experiment.person[student[keep]],
                is_short=step[keep] < SHORT_RECORD_WEEKS,
                model=name,
                task=task.name,
                replicates=replicates,
                seed=seed,
            )
        )
    return tuple(found)


def _folds(
    experiment: Experiment, fit: Fit, school: Int32, folds: Sequence[Int32]
) -> Iterator[tuple[NDArray[np.intp], Predict]]:
    """Rows of each fold's schools with a model that saw nothing of them."""
    for held_out in folds:
        try:
            predict = fit(_without(experiment.train, held_out), _without(experiment.calibration, held_out))
        except NotEnoughDataError:
            continue
        yield np.flatnonzero(np.isin(school, held_out)), predict


def _without(data: TrainingData, schools: Int32) -> TrainingData:
    """Students who were ever at one of the schools are left out altogether, wherever they were later."""
    ever_there = np.isin(data.block.school, schools).any(axis=1, keepdims=True)
    return replace(data, eligible=data.eligible & ~ever_there)


def _scores(predict: Predict, experiment: Experiment, student: Int32, step: Int32) -> dict[str, Float64]:
    return dict(predict_rows(predict, experiment, experiment.test, student, step))


def _labels(experiment: Experiment, task: Task, student: Int32, step: Int32) -> tuple[NDArray[np.int8], Bool]:
    cutoff = (experiment.test.block.week[student, step] + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)
    label = evaluation_labels(
        experiment.test.outcomes.select(student),
        cutoff_day=cutoff,
        task=task,
        shortest_follow_up_days=experiment.tasks[0].end_day,
    )
    return label, label != LABEL_UNKNOWN


def _compared(
    experiment: Experiment, task: Task, rows: tuple[Int32, Int32], *, unseen: Float64, seen: Float64
) -> tuple[ComparedScores, int]:
    """The rows that have an answer and were judged by a model of some fold, and how many schools they are from."""
    student, step = rows
    label, known = _labels(experiment, task, student, step)
    keep = known & ~np.isnan(unseen)
    scores = ComparedScores(label[keep], experiment.person[student[keep]], unseen[keep], seen[keep])
    return scores, len(np.unique(experiment.test.block.school[student[keep], step[keep]]))
