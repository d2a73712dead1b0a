"""Tests whether a model's reasons tell what moves its scores, on students of the test with high scores."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.evaluation.faithfulness import ExplainedRows, Faithfulness, OtherAttributions, measure_faithfulness
from edupulse_ml.explain.concepts import CONCEPTS
from edupulse_ml.explain.explanation import ExplainableModel
from edupulse_ml.explain.probing import attributions_by_seed, noisy, probe, random_attributions
from edupulse_ml.explain.strategies import explainable
from edupulse_ml.models.protocol import labelled_rows
from edupulse_ml.models.strategies.protocol import ServableModel
from jobs.experiment import Experiment, landmarks, predict_rows

Int32 = NDArray[np.int32]

STUDENTS: Final = 500
"""sources.md 5.3"""
_SHARE: Final = 0.25
"""Reasons are tested on the upper quarter of the scores at most: others are hardly ever explained to anybody."""
_FEWEST: Final = 10
_NOISE_SEEDS: Final = (1, 2)


def reasons_on_test(experiment: Experiment, model: ServableModel) -> Faithfulness:
    """The seven figures on the test people, each at their last judged week."""
    student, step = landmarks(experiment.test)
    last = last_weeks(experiment.person[student])
    student, step = student[last], step[last]
    score = predict_rows(model.predict, experiment, experiment.test, student, step)[experiment.tasks[0].name]
    batch = high_scores(experiment, student, step, score, students=STUDENTS)
    return faithfulness_on(batch, model, explainable(model))


def last_weeks(person: Int32) -> NDArray[np.intp]:
    """Positions of the last row of each person; rows are in order, `person` [B] names each one's."""
    _, from_end = np.unique(person[::-1], return_index=True)
    return np.sort(len(person) - 1 - from_end)


def high_scores(
    experiment: Experiment, student: Int32, step: Int32, score: NDArray[np.float64], *, students: int
) -> SequenceBatch:
    """The windows with the highest scores: at most `students`, and at most a quarter of all."""
    wanted = min(students, max(_FEWEST, round(_SHARE * len(score))))
    highest = np.argsort(-score, kind="stable")[:wanted]
    return labelled_rows(
        experiment.test, student=student[highest], step=step[highest], window_weeks=experiment.window_weeks
    ).batch


def faithfulness_on(batch: SequenceBatch, model: ServableModel, explained: ExplainableModel) -> Faithfulness:
    """The seven figures of `model`, as `explained` explains it, on these windows."""
    probed = probe(explained, batch)
    return measure_faithfulness(
        ExplainedRows(
            z=probed.z,
            length=batch.length,
            attribution=probed.attribution,
            logit=probed.logit,
            shown=probed.shown,
            concepts=[concept.positions for concept in CONCEPTS],
        ),
        OtherAttributions(
            randomised=random_attributions(model, batch, seed=0),
            seeds=attributions_by_seed(model, batch),
            noisy=[explained.attributed(noisy(batch, seed=seed)).attribution for seed in _NOISE_SEEDS],
        ),
    )
