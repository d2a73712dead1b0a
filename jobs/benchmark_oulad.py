"""The OULAD benchmark: train on earlier presentations, test on a later one whose people are removed from training.

Questions are asked at the last week closed by a day of the module, of those still registered (sources.md 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from edupulse_ml.connectors.oulad import load_oulad
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import FeatureBlock, concatenate_blocks
from edupulse_ml.core.weeks import week_of_days
from edupulse_ml.evaluation.outcomes import outcomes_from_exits
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.evaluation.splits import split_by_cohort
from features.compute import compute_features
from jobs.benchmark_runs import Watch, reports_in_turn, reports_side_by_side, search_settings
from jobs.benchmark_trial import BenchmarkData, BenchmarkOptions, BenchmarkTrial, ModelSettings

WITHDRAWAL_TASKS: Final = (Task("any", 0, 365), Task("lead60", 60, 365), Task("within60", 0, 60))
"""`any` stands first: it is the task by which training stops."""
FAILURE_TASKS: Final = (Task("withdrawn_or_fail", 0, 365),)

_IN_WORDS: Final[Mapping[str, str]] = {"dropout": "withdrawal", "failed": "failure"}
_STUDENTS_PER_CHUNK: Final = 2500
_SETTLED_DAYS: Final = 400
"""Days after the last presentation's end from which every outcome within a year of any cutoff is known."""


def load_benchmark(path: Path, presentations: Sequence[str]) -> BenchmarkData:
    """Read the presentations and compute every student-week.

    Raises:
        InvalidInputError: files or presentations are missing.
    """
    found = load_oulad(path, presentations)
    calendars = found.records.calendars
    school = np.zeros(len(found.student_ids), dtype=np.int32)
    school[found.records.enrollments.student] = found.records.enrollments.school
    last_day = calendars.first_day + calendars.is_instructional.shape[1] - 1
    through_week = int(week_of_days(np.asarray([last_day], dtype=np.int32))[0])
    of_school = [next(p for p in presentations if school_id.endswith(p)) for school_id in found.school_ids]
    day_zero = calendars.first_day + np.argmax(calendars.is_instructional, axis=1)
    return BenchmarkData(
        block=_block(found.records, through_week=through_week),
        person_ids=found.person_ids,
        presentation=tuple(of_school[position] for position in school),
        day_zero=day_zero[school].astype(np.int32),
        exits=found.exits,
        settled_day=last_day + _SETTLED_DAYS,
    )


def _block(records: RecordSet, *, through_week: int) -> FeatureBlock:
    """Features in chunks of students, so that memory holds one chunk's intermediate sums."""
    starts = range(0, records.n_students, _STUDENTS_PER_CHUNK)
    chunks = [np.arange(at, min(at + _STUDENTS_PER_CHUNK, records.n_students), dtype=np.int32) for at in starts]
    return concatenate_blocks([compute_features(records.select(chunk), through_week=through_week) for chunk in chunks])


def run_benchmark(
    data: BenchmarkData,
    *,
    options: BenchmarkOptions,
    created_at: str,
    watch: Watch,
    seed: int = 0,
    searches: Path | None = None,
    side_by_side: bool = False,
) -> EvaluationReport:
    """Fit every model twice (withdrawal; withdrawal or failure) and judge it on the test presentation.

    `watch` is told the name of each part and gives what shows it. A search keeps its trials in the folder `searches`,
    goes on from those that are there, and needs it. `side_by_side` fits both outcomes at once, in two processes.

    Raises:
        InvalidInputError: a presentation is not in the data, or is named for training and test; or no folder for a search.
        NotEnoughDataError: too few students or events to train.
        ConflictError: the folder holds a search of other data.
    """
    split = split_by_cohort(
        data.block,
        data.presentation,
        data.person_ids,
        train=options.train,
        test=options.test,
        calibration_share=options.calibration_share,
        seed=seed,
    )

    def trial(tasks: tuple[Task, ...], *codes: str) -> BenchmarkTrial:
        outcomes = outcomes_from_exits(
            data.exits,
            as_of_day=data.settled_day,
            n_students=data.block.n_students,
            dropout_codes=codes,
            completers_never_leave=True,
        )
        return BenchmarkTrial(
            " or ".join(_IN_WORDS[code] for code in codes), data, split, outcomes, tasks, options, seed
        )

    trials = (trial(WITHDRAWAL_TASKS, "dropout"), trial(FAILURE_TASKS, "dropout", "failed"))
    settings = ModelSettings()
    if options.trials:
        if searches is None:
            raise InvalidInputError("A search needs a folder for its trials.")
        settings = search_settings(trials[0], folder=searches, watch=watch)
    reports = (reports_side_by_side if side_by_side else reports_in_turn)(
        trials, settings, created_at=created_at, watch=watch
    )
    return reports[0].joined(reports[1])


def shown_order(report: EvaluationReport) -> EvaluationReport:
    """The report with its tasks in the order of the references: `lead60`, `within60`, `any`, `withdrawn_or_fail`."""
    order = ("lead60", "within60", "any", "withdrawn_or_fail")
    return replace(report, tasks=tuple(sorted(report.tasks, key=lambda task: order.index(task.name))))
