"""A search from beginning to end: what trials read, the study, the trials, and the settings that won."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.training.search.material import write_material
from edupulse_ml.training.search.space import chosen, including, search_space, values_of
from edupulse_ml.training.search.study import SearchStudy, TrialRecord
from edupulse_ml.training.strategies import Cohorts, StrategyOptions

DEFAULT_TRIALS: Final = 20


@dataclass(frozen=True)
class SearchOptions:
    """`trials` in all, those of earlier drivers included, `concurrent` at a time (None: one per CPU of the cluster).
    `windows` are lengths to choose from beside the one that the search starts from.
    """

    trials: int = DEFAULT_TRIALS
    concurrent: int | None = None
    windows: tuple[int, ...] = ()


@dataclass(frozen=True)
class SearchPlace:
    """`folder` belongs to one search and must be reachable from every node of the cluster; with `resume` it holds one
    already.
    """

    folder: Path
    resume: bool = False


@dataclass(frozen=True)
class Search:
    """A search under way or done. `base` is what it started from; its strategy and data are those of every trial."""

    study: SearchStudy
    base: StrategyOptions
    tasks: tuple[Task, ...]
    options: SearchOptions
    folder: Path

    @property
    def winner(self) -> StrategyOptions:
        """`base` with the settings of the best finished trial.

        Raises:
            ConflictError: no trial has finished.
        """
        return chosen(self.study.best.parameters, self.base)

    @property
    def found_better(self) -> bool:
        """Whether the best trial has other settings than the search started from."""
        return self.study.best.parameters != self.study.trials[0].parameters

    def run(
        self,
        *,
        ended: Callable[[TrialRecord], None] = lambda _: None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Run the missing trials on the Ray cluster that this process is connected to; whether all are done. `ended` is
        told of each; once `is_stopped`, the search ends as by an interrupt. See `on_ray.run_trials`.
        """
        from edupulse_ml.training.search.on_ray import TrialsOnRay, run_trials

        wanted = TrialsOnRay(self.folder, self.options.trials, self.options.concurrent)
        return run_trials(self.study, wanted, tasks=self.tasks, base=self.base, ended=ended, is_stopped=is_stopped)


def open_search(
    cohorts: Cohorts, *, tasks: Sequence[Task], base: StrategyOptions, options: SearchOptions, place: SearchPlace
) -> Search:
    """A new search, or the one that `place` holds. Its first trial has the settings of `base`.

    Raises:
        InvalidInputError: the strategy has nothing to search, or a window is too short or too long.
        NotEnoughDataError: too few students or events to train.
        NotFoundError: nothing is there to resume.
        ConflictError: the folder holds a search that is not asked to be resumed, or one of other data.
    """
    windows = _windows(base, options)
    space = search_space(base.strategy, windows)
    start = values_of(base, space)
    space = including(space, start)
    about = _about(cohorts, tasks=tasks, base=base, windows=windows)
    seed = base.champion.training.seed
    if place.resume:
        study = SearchStudy.resume(place.folder, space=space, about=about, seed=seed)
    else:
        write_material(cohorts, tasks=tasks, base=base, windows=windows, folder=place.folder)
        study = SearchStudy.create(place.folder, space=space, about=about, start=start, seed=seed)
    # Trials share the machine; each has the one core that it is scheduled on.
    alone = replace(base, boosted=replace(base.boosted, threads=1))
    return Search(study, alone, tuple(tasks), options, place.folder)


def _windows(base: StrategyOptions, options: SearchOptions) -> tuple[int, ...]:
    windows = tuple(sorted({base.champion.training.window_weeks, *options.windows}))
    if windows[0] < 4 or windows[-1] > 60:
        raise InvalidInputError("A window has 4 to 60 weeks: choose other ones.")
    return windows


def _about(
    cohorts: Cohorts, *, tasks: Sequence[Task], base: StrategyOptions, windows: Sequence[int]
) -> Mapping[str, object]:
    """What must be the same for trials to be compared; of the data a checksum only."""
    digest = hashlib.sha256()
    for part in (cohorts.train, cohorts.calibration):
        for values in (part.eligible, part.outcomes.event_day, part.block.values):
            digest.update(values.tobytes())
    training = base.champion.training
    start: dict[str, object] = {
        **asdict(training),
        **{f"boosted.{name}": value for name, value in asdict(base.boosted).items()},
    }
    # How many cores fit the trees changes no figure.
    del start["boosted.threads"]
    return {
        "strategy": base.strategy,
        "windows": list(windows),
        "tasks": [asdict(task) for task in tasks],
        "epochs": training.epochs,
        "seed": training.seed,
        "data": digest.hexdigest()[:16],
        "start": start,
    }
