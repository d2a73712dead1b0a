"""A search on a Ray cluster: concurrent trials, stopped early by ASHA, proposed by the study."""

import types
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import ray.tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from edupulse_ml.config.settings import set_environment_default
from edupulse_ml.core.outcomes import Task
from edupulse_ml.training.search.study import SearchStudy, TrialRecord
from edupulse_ml.training.search.trial import run_trial
from edupulse_ml.training.strategies import StrategyOptions

_OBJECTIVE: Final = "objective"
_EPOCH: Final = "epoch"
_FINISHED: Final = "finished"
_REDUCTION: Final = 3
"""ASHA lets the better third of the trials go on, and asks again after three times as many epochs (Li et al. 2020)."""
FEWEST_EPOCHS: Final = 4
"""Before these a learning rate shows more than a model does."""

Ended = Callable[[TrialRecord], None]
"""Told of each trial as it ends."""


@dataclass(frozen=True)
class TrialsOnRay:
    """Which trials to run: until `trials` are done in all, `concurrent` at a time (None: one per CPU of the cluster).
    `folder` holds what they read and must be reachable from every node.
    """

    folder: Path
    trials: int
    concurrent: int | None = None
    cpus_per_trial: float = 1.0


def run_trials(
    study: SearchStudy,
    wanted: TrialsOnRay,
    *,
    tasks: Sequence[Task],
    base: StrategyOptions,
    ended: Ended,
    is_stopped: Callable[[], bool],
) -> bool:
    """Run what the study lacks on the cluster that this process is connected to; whether it was done in full.

    A trial that fails is noted and the search goes on. An interrupt, or `is_stopped`, which is asked several times a
    second, ends the search after the results at hand; what was done stays in the study, and what was running will be
    asked for again.
    """
    missing = wanted.trials - study.done
    if missing <= 0:
        return True
    # Tune's own tables and most of its files would repeat what the study holds and the caller shows (one kind of file
    # is missed at the end where there is none); workers must find paths relative to their driver.
    set_environment_default("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    set_environment_default("RAY_AIR_NEW_OUTPUT", "0")
    set_environment_default("RAY_CHDIR_TO_TRIAL_DIR", "0")
    scheduler = _asha(study, epochs=base.champion.training.epochs)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(
            ray.tune.with_parameters(_trial, folder=str(wanted.folder), tasks=[asdict(t) for t in tasks], base=base),
            {"cpu": wanted.cpus_per_trial},
        ),
        tune_config=ray.tune.TuneConfig(
            num_samples=missing,
            max_concurrent_trials=wanted.concurrent or _cluster_cpus(),
            search_alg=_StudySearcher(study, ended),
            scheduler=scheduler,
            reuse_actors=True,
        ),
        run_config=ray.tune.RunConfig(
            name="ray-tune",
            storage_path=str(wanted.folder.resolve()),
            callbacks=[JsonLoggerCallback()],
            stop=_StopOnRequest(is_stopped),
            verbose=0,
        ),
    )
    tuner.fit()
    study.put_back_running()
    return study.done >= wanted.trials


def _trial(config: dict[str, Any], *, folder: str, tasks: list[dict[str, Any]], base: StrategyOptions) -> None:
    """One trial; runs inside Ray Tune."""
    reports = run_trial(Path(folder), config["parameters"], tasks=[Task(**task) for task in tasks], base=base)
    for report in reports:
        ray.tune.report({_OBJECTIVE: report.objective, _EPOCH: report.epoch, _FINISHED: report.finished})


class _StudySearcher(Searcher):
    """Lets the study propose, and tells it what came of it: Ray's own adapter calls a trial that ASHA stopped complete,
    and forgets what ran when its driver was killed.
    """

    def __init__(self, study: SearchStudy, ended: Ended) -> None:
        super().__init__()
        self._study, self._ended = study, ended
        self._numbers: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that is never asked for; the study is what is kept."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        number, parameters = self._study.ask()
        self._numbers[trial_id] = number
        return {"number": number, "parameters": dict(parameters)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._study.report(self._numbers[trial_id], epoch=int(result[_EPOCH]), objective=float(result[_OBJECTIVE]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002 - Ray's signature
        number = self._numbers.pop(trial_id)
        if error or result is None:
            self._ended(self._study.end(number, "failed"))
            return
        self._study.report(number, epoch=int(result[_EPOCH]), objective=float(result[_OBJECTIVE]))
        self._ended(self._study.end(number, "finished" if result[_FINISHED] else "pruned"))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save beside the study."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore beside the study."""


class _StopOnRequest(Stopper):
    """Ends the whole search, no single trial."""

    def __init__(self, is_stopped: Callable[[], bool]) -> None:
        self._is_stopped = is_stopped

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles it for a restore that is never asked for."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        return self._is_stopped()


def _asha(study: SearchStudy, *, epochs: int) -> ASHAScheduler:
    """The scheduler, with what earlier trials of the study reached at each rung."""
    scheduler = ASHAScheduler(
        time_attr=_EPOCH,
        metric=_OBJECTIVE,
        mode="max",
        max_t=epochs,
        grace_period=min(FEWEST_EPOCHS, epochs),
        reduction_factor=_REDUCTION,
    )
    controller: Any = None  # not looked at
    for record in study.trials:
        trial: Any = types.SimpleNamespace(trial_id=f"earlier-{record.number}")
        scheduler.on_trial_add(controller, trial)
        for epoch, objective in record.objectives.items():
            scheduler.on_trial_result(controller, trial, {_EPOCH: epoch, _OBJECTIVE: objective})
    return scheduler


def _cluster_cpus() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
