"""A benchmark in seconds: two presentations that never were, few epochs, and somebody who watches."""

from typing import Final

import numpy as np

from edupulse_ml.core.records import ExitEvents
from edupulse_ml.core.sequences import concatenate_blocks
from edupulse_ml.core.tables import EXIT_CODES
from edupulse_ml.core.weeks import NEVER
from jobs.benchmark_runs import Shown
from jobs.benchmark_trial import BenchmarkData, BenchmarkOptions
from tests.fakes.training_data import FIRST_MONDAY, make_training_data

TERM_DAYS: Final = 26 * 7


def simulated_data() -> BenchmarkData:
    """Two presentations of one module; person 0 studied in both, a third of those who finish fail."""
    parts = [make_training_data(n_students=260, seed=seed, hazard=0.003) for seed in (1, 2)]
    day = np.concatenate([part.outcomes.event_day for part in parts])
    day = np.where(day < FIRST_MONDAY + TERM_DAYS, day, NEVER).astype(np.int32)
    n = len(day)
    left = day != NEVER
    fails = np.arange(n) % 3 == 0
    end = np.where(left, day, FIRST_MONDAY + TERM_DAYS).astype(np.int32)
    exits = ExitEvents(
        student=np.arange(n, dtype=np.int32),
        entry_day=np.full(n, FIRST_MONDAY, np.int32),
        exit_day=end,
        exit_code=np.where(
            left,
            EXIT_CODES.index("dropout"),
            np.where(fails, EXIT_CODES.index("failed"), EXIT_CODES.index("graduated")),
        ).astype(np.int8),
        last_attended_day=np.where(left, day, end - 1).astype(np.int32),
        known_day=end,
        superseded_day=np.full(n, NEVER, np.int32),
    )
    return BenchmarkData(
        block=concatenate_blocks([part.block for part in parts]),
        person_ids=tuple(str(i % (n - 1)) for i in range(n)),
        presentation=("2013J",) * 260 + ("2014B",) * 260,
        day_zero=np.full(n, FIRST_MONDAY, np.int32),
        exits=exits,
        settled_day=FIRST_MONDAY + TERM_DAYS + 400,
    )


def quick_options(**more: int) -> BenchmarkOptions:
    return BenchmarkOptions(train=("2013J",), test=("2014B",), epochs=2, replicates=20, allow_small=True, **more)


class Watched:
    """Notes the steps of each part."""

    def __init__(self) -> None:
        self.steps: dict[str, list[str]] = {}

    def __call__(self, part: str) -> Shown:
        noted = self.steps.setdefault(part, [])
        return Shown(noted.append, lambda _: None)
