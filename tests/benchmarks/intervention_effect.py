"""What becomes of calibration when supported students are learned from: `python -m tests.benchmarks.intervention_effect`.

A district whose support works is learned from in three ways, and each model is judged on the same people in a district
where nobody was supported: the risk that a counselor wants to know. docs/feedback.md has the figures.
"""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import Final
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console

from edupulse_ml.connectors.memory import records_from_tables
from edupulse_ml.core.contract import FEATURE_INDEX
from edupulse_ml.core.feedback import Interventions
from edupulse_ml.core.outcomes import Task, risk_task, task_labels
from edupulse_ml.core.weeks import NEVER, day_number
from edupulse_ml.evaluation.interventions import intervention_spells, steps_that_met_intervention
from edupulse_ml.evaluation.metrics import measure
from edupulse_ml.models.calibrated import CalibratedModel
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, TrainingData
from edupulse_ml.models.rivals.boosted import Boosted
from edupulse_ml.models.rivals.logistic import Logistic
from edupulse_ml.simulation import dynamics, engagement
from edupulse_ml.simulation.district import build_district
from edupulse_ml.simulation.records import record_chunks, shared_tables
from edupulse_ml.simulation.settings import DistrictPlan
from features.compute import compute_features
from jobs.experiment import Experiment, History, landmarks, predict_rows, set_up
from tests.benchmarks.district import FIRST_YEAR, LAST_WEEK, ZONE

_TASK: Final[Task] = risk_task(180)
_YEARS: Final = 3
_RIVALS: Final = {Boosted.name: Boosted, Logistic.name: Logistic}
_WINDOW: Final = 20
_THROUGH: Final = date(FIRST_YEAR + 1, 11, 15)
"""Who came back after the last year must be on record, or nobody did."""
_CHRONIC: Final = 0.1
_ABSENCE: Final = FEATURE_INDEX["absence_rate_ytd"]


@dataclass(frozen=True)
class Support:
    """How much engagement support gives (in standard deviations), for how many weeks, to what share of those offered."""

    gain: float
    weeks: int
    uptake: float


@contextmanager
def planted(support: Support) -> Iterator[None]:
    """Districts generated inside the block support their students like this."""
    changed = replace(
        engagement.ENGAGEMENT,
        support_gain=support.gain,
        support_weeks=support.weeks,
        support_uptake=support.uptake,
    )
    with patch.object(engagement, "ENGAGEMENT", changed), patch.object(dynamics, "ENGAGEMENT", changed):
        yield


def district_history(plan: DistrictPlan) -> History:
    """The plan's history in memory, with the support that was given."""
    district = build_district(plan)
    parts: dict[str, list[pa.Table]] = {name: [table] for name, table in shared_tables(district)}
    supports: list[pa.Table] = []
    for chunk in record_chunks(district):
        supports.append(chunk.support)
        for name, table in chunk.tables.items():
            parts.setdefault(name, []).append(table)
    found = records_from_tables({name: pa.concat_tables(tables) for name, tables in parts.items()}, zone=ZONE)
    position = {student_id: at for at, student_id in enumerate(found.student_ids)}
    rows = pa.concat_tables(supports).to_pylist()
    start = np.asarray([day_number(row["starts_on"]) for row in rows], dtype=np.int32)
    return History(
        block=compute_features(found.records, through_week=LAST_WEEK),
        exits=found.exits,
        person_ids=found.person_ids,
        known_day=day_number(_THROUGH),
        interventions=Interventions(
            student=np.asarray([position[row["student_id"]] for row in rows], dtype=np.int32),
            start_day=start,
            end_day=np.asarray([day_number(row["ends_on"] or _THROUGH) for row in rows], dtype=np.int32),
            known_day=start,
            superseded_day=np.full(len(rows), NEVER, np.int32),
        ),
    )


def experiment_of(history: History) -> Experiment:
    return set_up(history, test_year=FIRST_YEAR, tasks=[_TASK], window_weeks=_WINDOW, seed=1)


def without_rescued(history: History, experiment: Experiment) -> Experiment:
    """Only those who met support and stayed are left out."""
    spells = intervention_spells(history.interventions, as_of_day=experiment.split.label_cutoff_day)
    met = steps_that_met_intervention(history.block, spells, horizon_days=_TASK.end_day)

    def kept(data: TrainingData) -> TrainingData:
        student, step = data.rows()
        label = labels_of(data, student.astype(np.int32), step.astype(np.int32))
        eligible = data.eligible.copy()
        rescued = met[student, step] & (label == 0)
        eligible[student[rescued], step[rescued]] = False
        return replace(data, eligible=eligible)

    parts = ("train", "calibration", "held_out")
    return replace(experiment, **{name: kept(getattr(experiment, name)) for name in parts})


def labels_of(data: TrainingData, student: NDArray[np.int32], step: NDArray[np.int32]) -> NDArray[np.int8]:
    cutoff = (data.block.week[student, step] + CUTOFF_DAYS_AFTER_MONDAY).astype(np.int32)
    return task_labels(data.outcomes.select(student), cutoff_day=cutoff, task=_TASK)


def judged(learned: Experiment, judge_on: Experiment, *, kind: str, seed: int) -> Mapping[str, str]:
    """Figures of a model that learned from one experiment, on the test people of another."""
    rival = _RIVALS[kind](InputNorms.fit(learned.train))
    model = CalibratedModel(rival, held_out=learned.held_out, allow_small=True)
    model.fit(
        learned.train, learned.calibration, tasks=[_TASK], window_weeks=_WINDOW, seed=seed, progress=lambda _: None
    )
    student, step = landmarks(judge_on.test)
    label = labels_of(judge_on.test, student, step)
    score = predict_rows(model.predict, judge_on, judge_on.test, student, step)[_TASK.name]
    absent = judge_on.test.block.values[student, step, _ABSENCE] >= _CHRONIC
    return {
        "all": _words(label, score, label >= 0),
        "chronically absent": _words(label, score, (label >= 0) & absent),
    }


def _words(label: NDArray[np.int8], score: NDArray[np.float64], rows: NDArray[np.bool_]) -> str:
    figures = measure(label[rows], score[rows])
    left = label[rows].mean()
    return (
        f"{rows.sum():,} student-weeks, left {left:.4f}, mean score {score[rows].mean():.4f} "
        f"(ratio {score[rows].mean() / left:.2f}), ECE {figures['ece'].value:.4f}, AUC {figures['auc'].value:.3f}"
    )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--students", type=int, default=3000)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--model", choices=tuple(_RIVALS), default=Logistic.name)
    asked.add_argument("--gain", type=float, default=2.0)
    asked.add_argument("--weeks", type=int, default=9)
    asked.add_argument("--uptake", type=float, default=0.6)
    options = asked.parse_args()
    console = Console(width=200)
    plan = DistrictPlan(
        students=options.students,
        years=_YEARS,
        seed=options.seed,
        first_year=FIRST_YEAR - _YEARS + 1,
        intervention=True,
        through=_THROUGH,
    )
    with planted(Support(options.gain, options.weeks, options.uptake)):
        history = district_history(plan)
    unsupported = experiment_of(district_history(replace(plan, intervention=False)))
    ours = experiment_of(history)
    blind = experiment_of(replace(history, interventions=Interventions(*[np.empty(0, np.int32)] * 5)))
    if ours.feedback is not None:
        console.print(f"{ours.feedback.n_left_out:,} of {ours.feedback.n_steps:,} student-weeks not learned from")
    learned = {
        "support not looked at": blind,
        "rescued left out": without_rescued(history, blind),
        "as EduPulse does": ours,
        "(never supported)": unsupported,
    }
    for name, experiment in learned.items():
        for rows, figures in judged(experiment, unsupported, kind=options.model, seed=options.seed).items():
            console.print(f"{name:24} {rows:20} {figures}")


if __name__ == "__main__":
    main()
