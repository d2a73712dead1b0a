"""What a search over an experiment leaves: the winner fitted again and beside the settings that it had to beat."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.evaluation.report import POOLED, EvaluationReport, PairedDifference
from edupulse_ml.models.protocol import Progress
from edupulse_ml.training.search.searching import Search, SearchOptions, SearchPlace, open_search
from edupulse_ml.training.strategies import Cohorts, StrategyOptions, train_strategy
from jobs.experiment import Experiment, Predict, judge
from jobs.fitting import FittedModels, Step, fit_all

DEFAULTS: Final = "defaults"
"""In reports: the strategy with the settings that the search started from."""
VALIDATION: Final = "validation"
"""The report on the people that trials were compared on."""
_SHOWN: Final = ("auc", "average_precision")


@dataclass(frozen=True)
class Refitted:
    """The winner and the rivals, fitted for windows of the winner's length; and the `others` to compare it with: the
    defaults, and where the strategy is a single model, the same settings with other seeds. Each reads windows of the
    experiment `judged` and takes what it needs of them.
    """

    own: Experiment
    judged: Experiment
    fitted: FittedModels
    others: Mapping[str, Predict]

    @property
    def predict(self) -> Mapping[str, Predict]:
        """Winner, its members, rivals and others by name."""
        own = self.own.window_weeks
        return {**{name: _reading(own, predict) for name, predict in self.fitted.predict.items()}, **self.others}


def search_experiment(
    experiment: Experiment, *, base: StrategyOptions, options: SearchOptions, place: SearchPlace
) -> Search:
    """The search over what the experiment learns from and calibrates on; the test people stay out of it.

    Raises: see `training.search.searching.open_search`.
    """
    return open_search(_cohorts(experiment), tasks=experiment.tasks, base=base, options=options, place=place)


def refit(
    experiment: Experiment, *, winner: StrategyOptions, base: StrategyOptions, step: Step, progress: Progress
) -> Refitted:
    """Fit the winner with `winner.seeds` seeds, and the settings that it had to beat.

    An ensemble holds one network per seed. A single model is registered with the run's own seed and never with the
    luckiest one; its other seeds are only measured.

    Raises:
        NotEnoughDataError: too few students or events to train honestly.
    """
    weeks, started_with = (options.champion.training.window_weeks for options in (winner, base))
    own = replace(experiment, window_weeks=weeks)
    fitted = fit_all(own, options=winner, workers=None, step=step, progress=progress)
    others: dict[str, Predict] = {}
    if winner.strategy != "ensemble":
        for seed in range(1, winner.seeds):
            step(f"training seed {seed + 1} of {winner.seeds}")
            others[f"{winner.strategy}-seed-{seed + 1}"] = _fit(own, _with_seed(winner, seed), progress)
    step("training with the settings it started from")
    others[DEFAULTS] = _fit(replace(experiment, window_weeks=started_with), base, progress)
    judged = replace(experiment, window_weeks=max(weeks, started_with))
    return Refitted(own, judged, fitted, others)


def judge_refitted(refitted: Refitted, *, created_at: str, replicates: int, title: str) -> dict[str, EvaluationReport]:
    """Reports by name: `test` on the test people with all models, `validation` on the people that the trials were
    compared on, where the winner is flattered by having been chosen.
    """
    champion = refitted.fitted.trained.model.strategy
    predict = refitted.predict
    close = {name: predict[name] for name in (champion, *refitted.others)}

    def on(experiment: Experiment, models: Mapping[str, Predict], name: str, *notes: str) -> EvaluationReport:
        return judge(
            experiment,
            models,
            title=f"{title}{name}",
            created_at=created_at,
            replicates=replicates,
            seed=0,
            champion=champion,
            notes=notes,
        )

    chosen_here = "The trials of the search were compared on these people: the winner looks better here than it is."
    return {
        "test": on(refitted.judged, predict, ""),
        VALIDATION: on(
            replace(refitted.judged, test=refitted.judged.calibration), close, ": validation people", chosen_here
        ),
    }


def differences_from_defaults(report: EvaluationReport) -> tuple[PairedDifference, ...]:
    """The winner less the defaults over all landmarks, with paired intervals, for AUC and average precision."""
    return tuple(
        difference
        for difference in report.differences
        if difference.rival == DEFAULTS and difference.landmark == POOLED and difference.metric in _SHOWN
    )


def _cohorts(experiment: Experiment) -> Cohorts:
    return Cohorts(experiment.train, experiment.calibration, experiment.held_out)


def _fit(experiment: Experiment, options: StrategyOptions, progress: Progress) -> Predict:
    trained = train_strategy(_cohorts(experiment), tasks=experiment.tasks, options=options, progress=progress)
    return _reading(experiment.window_weeks, trained.model.predict)


def _with_seed(options: StrategyOptions, seed: int) -> StrategyOptions:
    training = options.champion.training
    return replace(options, champion=replace(options.champion, training=replace(training, seed=training.seed + seed)))


def _reading(
    window_weeks: int, predict: Callable[[SequenceBatch], Mapping[str, NDArray[np.float64]]]
) -> Callable[[SequenceBatch], Mapping[str, NDArray[np.float64]]]:
    """`predict` for batches of longer windows than the model was fitted for."""

    def answer(batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        return predict(batch if batch.week.shape[1] == window_weeks else batch.latest(window_weeks))

    return answer
