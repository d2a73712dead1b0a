"""Does a model hold where it has not learned? Schools that it never saw, and students of whom little is recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.evaluation.bootstrap import bootstrap_metrics
from edupulse_ml.evaluation.figures import MIN_STUDENTS, TOO_FEW, Figure, resampled
from edupulse_ml.evaluation.metrics import Float64, Labels, measure

SHOWN: Final = ("auc", "average_precision", "recall_top10")

HELD_OUT_SCHOOLS: Final = "held_out_schools"
NEW_DISTRICT: Final = "new_district"
SHORT_RECORD: Final = "short_record"


@dataclass(frozen=True)
class Generalisation:
    """One question of generalisation, on one set of rows.

    `setting` is `held_out_schools` (each school judged by a model fitted without it), `new_district` (half of the
    schools judged by a model fitted on the other half) or `short_record` (students with few weeks of record). `unseen`
    holds the figures of that model, `seen` those of the model fitted on everything (for `short_record`: of the same
    model on the students with longer records, other rows), `difference` unseen minus seen where both judge the same
    rows. Metrics are `SHOWN`.
    """

    setting: str
    model: str
    task: str
    n_schools: int | None
    n_students: int | None
    unseen: Mapping[str, Figure]
    seen: Mapping[str, Figure]
    difference: Mapping[str, Figure]
    reason: str | None = None


@dataclass(frozen=True)
class ComparedScores:
    """Scores [B] of the same rows by two models; `student` names whose rows are drawn together."""

    label: Labels
    student: NDArray[np.integer]
    unseen: Float64
    seen: Float64


def compare_on_unseen(
    scores: ComparedScores, *, setting: str, model: str, task: str, n_schools: int, replicates: int, seed: int
) -> Generalisation:
    """The model that had not seen these schools beside the one that had, on the same rows and draws of students."""
    if _too_few(scores.label, scores.student):
        return _untold(setting, model, task)
    draws = bootstrap_metrics(
        scores.label,
        {"unseen": scores.unseen, "seen": scores.seen},
        scores.student,
        replicates=replicates,
        seed=seed,
    )
    unseen, seen = measure(scores.label, scores.unseen), measure(scores.label, scores.seen)
    return Generalisation(
        setting,
        model,
        task,
        n_schools,
        len(np.unique(scores.student)),
        unseen={name: resampled(unseen[name].value, draws["unseen"][name]) for name in SHOWN},
        seen={name: resampled(seen[name].value, draws["seen"][name]) for name in SHOWN},
        difference={
            name: resampled(unseen[name].value - seen[name].value, draws["unseen"][name] - draws["seen"][name])
            for name in SHOWN
        },
    )


def compare_short_records(
    label: Labels,
    score: Float64,
    student: NDArray[np.integer],
    *,
    is_short: NDArray[np.bool_],
    model: str,
    task: str,
    replicates: int,
    seed: int,
) -> Generalisation:
    """One model on the rows `is_short` [B] (as `unseen`) and on the others (as `seen`): other students, no difference."""
    parts = []
    for rows in (is_short, ~is_short):
        if _too_few(label[rows], student[rows]):
            return _untold(SHORT_RECORD, model, task)
        draws = bootstrap_metrics(label[rows], {model: score[rows]}, student[rows], replicates=replicates, seed=seed)
        values = measure(label[rows], score[rows])
        parts.append({name: resampled(values[name].value, draws[model][name]) for name in SHOWN})
    return Generalisation(SHORT_RECORD, model, task, None, len(np.unique(student[is_short])), parts[0], parts[1], {})


def _too_few(label: Labels, student: NDArray[np.integer]) -> bool:
    """Fewer than ten students, or fewer than ten who left, or who stayed."""
    return min(len(np.unique(student[rows])) for rows in (label == 1, label == 0)) < MIN_STUDENTS


def _untold(setting: str, model: str, task: str) -> Generalisation:
    return Generalisation(setting, model, task, None, None, {}, {}, {}, reason=TOO_FEW)
