"""A district's history with outcomes and audit attributes, made of simulated students, and models to be judged on it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import CONTEXT_COLUMNS
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.records import ExitEvents
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.core.tables import EXIT_CODES
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.explain.strategies import explainable
from edupulse_ml.training.strategies import Cohorts, train_strategy
from jobs.experiment import History, set_up
from jobs.promotion.contenders import Contender
from jobs.promotion.spoiled import raised
from jobs.reporting import SPLIT_SEED, TEST_YEAR
from tests.fakes import strategies
from tests.fakes.training_data import make_training_data

STUDENTS = 1600
ENTERED_MIDYEAR = CONTEXT_COLUMNS.index("entered_midyear")


@cache
def history() -> History:
    """One school year, followed for a year after its end; `sex` says who entered in mid-year, to models a context."""
    data = make_training_data(n_students=STUDENTS, n_weeks=14, seed=5, hazard=0.002)
    event_day = data.outcomes.event_day
    left = event_day != NEVER
    first = int(data.block.week.min())
    exits = ExitEvents(
        student=np.arange(STUDENTS, dtype=np.int32),
        entry_day=np.full(STUDENTS, first, np.int32),
        exit_day=np.where(left, event_day + 1, NEVER).astype(np.int32),
        exit_code=np.where(left, EXIT_CODES.index("dropout"), -1).astype(np.int8),
        last_attended_day=event_day.astype(np.int32),
        known_day=np.full(STUDENTS, first, np.int32),
        superseded_day=np.full(STUDENTS, NEVER, np.int32),
    )
    entered = data.block.context[:, 0, ENTERED_MIDYEAR] > 0
    return History(
        block=data.block,
        exits=exits,
        person_ids=tuple(f"p{number}" for number in range(STUDENTS)),
        known_day=data.outcomes.as_of_day,
        audit={"sex": ["f" if flag else "m" for flag in entered], "homeless": [None] * STUDENTS},
    )


@cache
def contender(*, strategy: str = "gru", version: str = "1", split_seed: int = 0, seed: int = 0) -> Contender:
    """A model fitted on the history's training people; served as trained, without files."""
    experiment = set_up(
        history(), test_year=None, tasks=strategies.TASKS, window_weeks=strategies.WINDOW, seed=split_seed
    )
    options = strategies.options(strategy, seed=seed)
    metadata = {TEST_YEAR: "", SPLIT_SEED: str(split_seed)}
    trained = train_strategy(
        Cohorts(experiment.train, experiment.calibration, experiment.held_out),
        tasks=strategies.TASKS,
        options=replace(options, champion=replace(options.champion, metadata=metadata)),
        progress=strategies.quiet,
    )
    model: Any = trained.model
    return Contender(ModelVersion(version), model, model, model, "itself", explainable(model), model)


def against_newcomers(answer: NDArray[np.float64], batch: SequenceBatch) -> NDArray[np.float64]:
    """Whoever entered in mid-year is scored far higher."""
    return raised(answer, batch.context[:, ENTERED_MIDYEAR] > 0)


def failed_kinds(names: Sequence[str]) -> set[str]:
    """First words of rule names: what a candidate was refused for."""
    return {name.split(":")[0].split(" F")[0] for name in names}
