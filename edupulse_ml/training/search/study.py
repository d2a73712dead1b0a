"""The study: every trial of a search with its settings and figures, in a file that outlives whoever drives the search."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from edupulse_ml.core.errors import ConflictError, NotFoundError
from edupulse_ml.training.search.space import Dimension, Parameters, Space

State = Literal["finished", "pruned", "failed", "interrupted", "running"]

_STATES: Final[Mapping[TrialState, State]] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
}
_FILE: Final = "study.db"
_ABOUT: Final = "about"
_INTERRUPTED: Final = "interrupted"
_STARTUP_TRIALS: Final = 6
"""Trials drawn at random before the sampler begins to learn; Optuna's ten would be half of a search of twenty."""


@dataclass(frozen=True)
class TrialRecord:
    """`value` is the last objective that was reported, None before the first; `objectives` has it by epoch. `interrupted`
    trials ended with their driver and are repeated.
    """

    number: int
    state: State
    parameters: Parameters
    value: float | None
    objectives: Mapping[int, float] = field(default_factory=dict)
    seconds: float | None = None


def holds_study(folder: Path) -> bool:
    """Whether there is a search to resume."""
    return (folder / _FILE).exists()


class SearchStudy:
    """A study of one space, in one folder. Not for two drivers at a time."""

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self._study = study
        self._space = {name: _distribution(dimension) for name, dimension in space.items()}
        self._asked: dict[int, optuna.Trial] = {}

    @classmethod
    def create(cls, folder: Path, *, space: Space, about: Mapping[str, object], start: Parameters, seed: int) -> Self:
        """A new study whose first trial is `start`. `about` says what it is about, in JSON; `resume` asks for the same.

        Raises:
            ConflictError: the folder holds a study already.
        """
        if holds_study(folder):
            msg = f"{folder} holds a search already: resume it by its name, or choose another name."
            raise ConflictError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        study = _open(folder, seed=seed)
        study.set_user_attr(_ABOUT, json.dumps(dict(about), sort_keys=True))
        study.enqueue_trial(dict(start))
        return cls(study, space)

    @classmethod
    def resume(cls, folder: Path, *, space: Space, about: Mapping[str, object], seed: int) -> Self:
        """The study of an earlier search. What was running when its driver ended is asked for again.

        Raises:
            NotFoundError: there is none.
            ConflictError: it was about something else: other data, another strategy, other windows.
        """
        if not holds_study(folder):
            raise NotFoundError(f"There is no search in {folder}: check its name, or start it without `--resume`.")
        study = _open(folder, seed=seed)
        stored = json.loads(study.user_attrs.get(_ABOUT, "{}"))
        differing = sorted(key for key in {*about, *stored} if about.get(key) != stored.get(key))
        if differing:
            msg = (
                f"The search in {folder} differs from this one in {', '.join(differing)}: its trials cannot be compared "
                "with new ones. Start a new search."
            )
            raise ConflictError(msg)
        resumed = cls(study, space)
        resumed.put_back_running()
        return resumed

    def ask(self) -> tuple[int, Parameters]:
        """Number and settings of the next trial."""
        trial = self._study.ask(self._space)
        self._asked[trial.number] = trial
        return trial.number, dict(trial.params)

    def report(self, number: int, *, epoch: int, objective: float) -> None:
        """The objective of a running trial after an epoch; the first report of an epoch counts."""
        if epoch not in self._study.get_trials(deepcopy=False)[number].intermediate_values:
            self._asked[number].report(objective, epoch)

    def end(self, number: int, state: Literal["finished", "pruned", "failed"]) -> TrialRecord:
        """Close a trial. One without any finite objective has failed."""
        trial = self._asked.pop(number)
        value = _last(self._study.get_trials(deepcopy=False)[number].intermediate_values)
        if value is None or state == "failed":
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            finished = TrialState.COMPLETE if state == "finished" else TrialState.PRUNED
            self._study.tell(trial, value if state == "finished" else None, state=finished)
        return self.trials[number]

    def put_back_running(self) -> None:
        """Close the trials that nobody runs any more, and ask for them again."""
        stale = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
        for trial in stale:
            self._study.set_user_attr(_INTERRUPTED, sorted({*self._interrupted, trial.number}))
            self._study.tell(trial.number, state=TrialState.FAIL)
            self._study.enqueue_trial(trial.params)
            self._asked.pop(trial.number, None)

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial that has begun, by number."""
        found = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
        return tuple(self._record(trial) for trial in found)

    @property
    def done(self) -> int:
        """Trials that need not be repeated: finished, pruned or failed."""
        return sum(trial.state in {"finished", "pruned", "failed"} for trial in self.trials)

    @property
    def best(self) -> TrialRecord:
        """The finished trial with the greatest objective, the earlier one of equals.

        Raises:
            ConflictError: no trial has finished.
        """
        finished = [trial for trial in self.trials if trial.state == "finished" and trial.value is not None]
        if not finished:
            msg = "No trial of the search has finished: see the trials' errors in its folder, or give it more trials."
            raise ConflictError(msg)
        return max(finished, key=lambda trial: (trial.value, -trial.number))

    @property
    def start(self) -> TrialRecord | None:
        """The last trial with the settings that the search started from, None before it has begun."""
        trials = self.trials
        same = [trial for trial in trials if trial.parameters == trials[0].parameters]
        return same[-1] if same else None

    def note(self, name: str, value: str) -> None:
        """Keep a word with the study."""
        self._study.set_user_attr(name, value)

    def noted(self, name: str) -> str | None:
        """What `note` kept under `name`."""
        return self._study.user_attrs.get(name)

    def for_figures(self) -> optuna.Study:
        """A copy in memory in which pruned trials count with their last objective: too few finish to draw from."""
        with_values = [
            optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=value)
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state in {TrialState.COMPLETE, TrialState.PRUNED}
            and (value := _last(trial.intermediate_values)) is not None
        ]
        copied = optuna.create_study(direction="maximize")
        copied.add_trials(with_values)
        return copied

    @property
    def _interrupted(self) -> list[int]:
        return self._study.user_attrs.get(_INTERRUPTED, [])

    def _state(self, trial: optuna.trial.FrozenTrial) -> State:
        if trial.state == TrialState.FAIL:
            return "interrupted" if trial.number in self._interrupted else "failed"
        return _STATES[trial.state]

    def _record(self, trial: optuna.trial.FrozenTrial) -> TrialRecord:
        seconds = None if trial.duration is None else trial.duration.total_seconds()
        objectives = dict(sorted(trial.intermediate_values.items()))
        return TrialRecord(trial.number, self._state(trial), dict(trial.params), _last(objectives), objectives, seconds)


def _open(folder: Path, *, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=optuna.storages.RDBStorage(f"sqlite:///{(folder / _FILE).resolve()}"),
        study_name="search",
        pruner=optuna.pruners.NopPruner(),
        direction="maximize",
        load_if_exists=True,
    )
    # A driver that goes on must not draw again what the one before drew at random.
    study.sampler = optuna.samplers.TPESampler(
        seed=seed + len(study.get_trials(deepcopy=False)),
        n_startup_trials=_STARTUP_TRIALS,
        multivariate=True,
        constant_liar=True,
    )
    return study


def _distribution(dimension: Dimension) -> BaseDistribution:
    low, high = dimension.low, dimension.high
    if dimension.values:
        return CategoricalDistribution(dimension.values)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=dimension.log)
    return FloatDistribution(float(low), float(high), log=dimension.log)


def _last(objectives: Mapping[int, Any]) -> float | None:
    """The objective of the latest epoch; None where there is none, or it is not finite."""
    if not objectives:
        return None
    value = float(objectives[max(objectives)])
    return value if math.isfinite(value) else None
