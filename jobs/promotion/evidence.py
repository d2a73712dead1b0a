"""Gathers the evidence: candidate, champion and rivals on the same rows of the district's test year, measured anew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import ContractMismatchError, NotEnoughDataError
from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Task
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.evaluation.audit_groups import CROSSED
from edupulse_ml.evaluation.fairness import PAIR
from edupulse_ml.evaluation.faithfulness import Faithfulness
from edupulse_ml.evaluation.gate_evidence import GateEvidence
from edupulse_ml.evaluation.gate_measures import (
    CANDIDATE,
    JudgedRows,
    calibration_figures,
    compare,
    fairness_gaps,
)
from edupulse_ml.evaluation.labels import evaluation_labels
from edupulse_ml.evaluation.promotion_policy import PromotionPolicy
from edupulse_ml.models.calibrated import CalibratedModel
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, labelled_rows
from edupulse_ml.models.rivals.abc_rule import AbcRule
from edupulse_ml.models.rivals.boosted import Boosted
from jobs.experiment import (
    Experiment,
    History,
    Predict,
    default_tasks,
    landmark_months,
    landmarks,
    predict_rows,
    set_up,
)
from jobs.promotion.contenders import Contender, measure_parity
from jobs.promotion.reasons import faithfulness_on, high_scores, last_weeks

Step = Callable[[str], None]
"""Told the name of each piece of work as it begins."""
Scores = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Model -> task -> probability per row."""

_PARITY_ROWS: Final = 2000


@dataclass(frozen=True)
class _Rows:
    """The student-weeks that everybody is judged on: one of each student and month."""

    student: NDArray[np.int32]
    step: NDArray[np.int32]
    person: NDArray[np.int32]
    cutoff_day: NDArray[np.int32]

    def take(self, chosen: NDArray[np.intp]) -> "_Rows":
        return _Rows(self.student[chosen], self.step[chosen], self.person[chosen], self.cutoff_day[chosen])


def gather_evidence(
    history: History, candidate: Contender, champion: Contender | None, *, policy: PromotionPolicy, step: Step
) -> GateEvidence:
    """Everything that the policy asks about, from the candidate's own split; nothing is taken from a stored report.

    Students whom the champion has learned from are left out, so that neither model is judged on its own lessons.

    Raises:
        NotEnoughDataError: no student is left to judge on.
        InvalidInputError: the records do not span the school years of the candidate's split.
    """
    step("fitting LightGBM and the ABC rule")
    experiment = _experiment(history, candidate)
    rivals = _fit_rivals(experiment, seed=candidate.split_seed)
    problem = None if champion is None else _why_not_comparable(champion, candidate)
    comparable = champion if problem is None else None
    rows, left_out = _judged_rows(history, experiment, comparable)
    step("scoring the test year")
    scores, broken = _score(experiment, rows, candidate, comparable, rivals)
    step("resampling students")
    headline = experiment.tasks[0]
    ranked = [_labelled(experiment, rows, scores, task, shortened=True) for task in experiment.tasks]
    compared = [compare(each, policy) for each in ranked]
    # Calibration speaks of the whole interval, so only rows that were followed to its end can judge it.
    followed = [_labelled(experiment, rows, scores, task, shortened=False) for task in experiment.tasks]
    gaps = fairness_gaps(ranked[0], _groups(experiment, rows, headline), policy)
    step("testing the reasons")
    return GateEvidence(
        candidate=candidate.version,
        champion=None if champion is None else champion.version,
        n_rows=len(rows.student),
        n_students=len(np.unique(rows.person)),
        ranking=tuple(entry for ranking, _ in compared for entry in ranking),
        lists=tuple(entry for _, lists in compared for entry in lists),
        calibration=tuple(calibration_figures(each, policy) for each in followed),
        fairness=gaps,
        faithfulness=_faithfulness(experiment, rows, scores[CANDIDATE][headline.name], candidate, policy),
        parity=measure_parity(candidate, _batch(experiment, rows.take(np.arange(len(rows.step))[:_PARITY_ROWS]))),
        champion_problem=problem or broken,
        n_left_out=left_out,
    )


def _experiment(history: History, contender: Contender) -> Experiment:
    return set_up(
        history,
        test_year=contender.test_year,
        tasks=default_tasks(contender.model.task),
        window_weeks=contender.model.contract.window_weeks,
        seed=contender.split_seed,
    )


def _fit_rivals(experiment: Experiment, *, seed: int) -> dict[str, Predict]:
    fitted: dict[str, Predict] = {}
    for rival in (Boosted(InputNorms.fit(experiment.train)), AbcRule()):
        # A year with too few events to calibrate on can still be judged by ranking.
        calibrated = CalibratedModel(rival, held_out=experiment.held_out, allow_small=True)
        calibrated.fit(
            experiment.train,
            experiment.calibration,
            tasks=experiment.tasks,
            window_weeks=experiment.window_weeks,
            seed=seed,
            progress=lambda _: None,
        )
        fitted[rival.name] = calibrated.predict
    return fitted


def _why_not_comparable(champion: Contender, candidate: Contender) -> str | None:
    if champion.model.task != candidate.model.task:
        return (
            f"it answers {champion.model.task.name} over {champion.model.task.end_day} days, the candidate over "
            f"{candidate.model.task.end_day}."
        )
    return None


def _judged_rows(history: History, experiment: Experiment, champion: Contender | None) -> tuple[_Rows, int]:
    student, step = landmarks(experiment.test)
    cutoff = (experiment.test.block.week[student, step] + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)
    rows = _Rows(student, step, experiment.person[student], cutoff)
    if champion is None:
        return rows, 0
    known = _learned_from(_experiment(history, champion))
    keep = ~np.isin(rows.person, known)
    if not keep.any():
        msg = (
            "The champion has learned from every student of the candidate's test: train the candidate with the champion's "
            "split seed, or on a later test year."
        )
        raise NotEnoughDataError(msg)
    return rows.take(np.flatnonzero(keep)), len(np.unique(rows.person[~keep]))


def _learned_from(experiment: Experiment) -> NDArray[np.int32]:
    """Persons with a student-week that training or calibration reads."""
    read = [part.eligible.any(axis=1) for part in (experiment.train, experiment.calibration, experiment.held_out)]
    return np.unique(experiment.person[np.any(read, axis=0)])


def _score(
    experiment: Experiment, rows: _Rows, candidate: Contender, champion: Contender | None, rivals: Mapping[str, Predict]
) -> tuple[Scores, str | None]:
    """Scores by model; why the champion could not be asked."""

    def predicted(predict: Predict, window_weeks: int) -> Mapping[str, NDArray[np.float64]]:
        own = replace(experiment, window_weeks=window_weeks)
        return predict_rows(predict, own, experiment.test, rows.student, rows.step)

    scores = {name: predicted(predict, experiment.window_weeks) for name, predict in rivals.items()}
    scores[CANDIDATE] = predicted(candidate.model.predict, candidate.model.contract.window_weeks)
    if champion is None:
        return scores, None
    try:
        scores["champion"] = predicted(champion.model.predict, champion.model.contract.window_weeks)
    except ContractMismatchError as error:
        return scores, str(error)
    return scores, None


def _labelled(experiment: Experiment, rows: _Rows, scores: Scores, task: Task, *, shortened: bool) -> JudgedRows:
    label = _labels(experiment, rows, task, shortened=shortened)
    known = label != LABEL_UNKNOWN
    by_model = {name: by_task[task.name][known] for name, by_task in scores.items()}
    months = np.asarray(landmark_months(rows.cutoff_day))
    return JudgedRows(task.name, label[known], rows.person[known], by_model, months[known])


def _labels(experiment: Experiment, rows: _Rows, task: Task, *, shortened: bool) -> NDArray[np.int8]:
    """[B] with `shortened`, follow-up may end before the task's interval does, which is fair to ranking only."""
    return evaluation_labels(
        experiment.test.outcomes.select(rows.student),
        cutoff_day=rows.cutoff_day,
        task=task,
        shortest_follow_up_days=experiment.tasks[0].end_day if shortened else None,
    )


def _groups(experiment: Experiment, rows: _Rows, task: Task) -> dict[str, list[str | None]]:
    """Group of each row that ranking judges, by attribute; attributes that nobody has are left out."""
    student = rows.student[_labels(experiment, rows, task, shortened=True) != LABEL_UNKNOWN]
    found = {name: [values[who] for who in student] for name, values in experiment.audit.items()}
    for first, second in CROSSED:
        if first in found and second in found:
            pairs = zip(found[first], found[second], strict=True)
            found[f"{first}{PAIR}{second}"] = [f"{a}{PAIR}{b}" if a and b else None for a, b in pairs]
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def _batch(experiment: Experiment, rows: _Rows) -> SequenceBatch:
    return labelled_rows(
        experiment.test, student=rows.student, step=rows.step, window_weeks=experiment.window_weeks
    ).batch


def _faithfulness(
    experiment: Experiment, rows: _Rows, score: NDArray[np.float64], candidate: Contender, policy: PromotionPolicy
) -> Faithfulness:
    """The tests on each student's last judged week."""
    last = last_weeks(rows.person)
    student, step = rows.student[last], rows.step[last]
    batch = high_scores(experiment, student, step, score[last], students=policy.faithfulness.students)
    return faithfulness_on(batch, candidate.fitted, candidate.explained)
