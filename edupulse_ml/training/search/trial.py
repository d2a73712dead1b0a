"""One trial: fit with the chosen settings, and say after each epoch how well the validation people are ranked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edupulse_ml.core.outcomes import Task, interval_probability
from edupulse_ml.models.engines import TorchEngine
from edupulse_ml.models.gru import RiskNet
from edupulse_ml.models.rivals.boosted import Boosted
from edupulse_ml.training.gru_model import stopping_task
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.run import TrainingRun
from edupulse_ml.training.search.material import BoostedMaterial, NetworkMaterial, trees_folder
from edupulse_ml.training.search.space import Parameters, chosen
from edupulse_ml.training.strategies import StrategyOptions

_ROWS_PER_RUN: Final = 2048


@dataclass(frozen=True)
class TrialReport:
    """`objective` is the mean ROC-AUC, over the tasks, of what would be kept if the trial ended after this epoch;
    `finished` is set in the last report of a trial that nobody stopped.
    """

    epoch: int
    objective: float
    finished: bool


def run_trial(
    folder: Path, parameters: Parameters, *, tasks: Sequence[Task], base: StrategyOptions
) -> Iterator[TrialReport]:
    """Reports of a trial on what `material.write_material` wrote into `folder`: one per epoch of a network, and a single
    one of trees, whose early stopping already costs less than asking whether to go on.
    """
    options = chosen(parameters, base)
    if options.strategy == "boosted":
        return _of_trees(folder, options, tasks)
    training = options.champion.training
    material = NetworkMaterial.load(folder, tasks=tasks).with_window(training.window_weeks)
    return _of_network(material, training, tasks)


def _of_network(material: NetworkMaterial, training: TrainingOptions, tasks: Sequence[Task]) -> Iterator[TrialReport]:
    run = TrainingRun(material.prepared, training, task=stopping_task(tasks))
    objective = float("nan")
    while not run.finished:
        metrics = run.next_epoch()
        if metrics["best_epoch"] == metrics["epoch"]:
            objective = _ranking(run.result.network(training), material, tasks)
        yield TrialReport(run.epochs_done, objective, run.finished)


def _ranking(network: RiskNet, material: NetworkMaterial, tasks: Sequence[Task]) -> float:
    engine = TorchEngine(network)
    starts = range(0, len(material.judged.labels), _ROWS_PER_RUN)
    runs = [engine.run(material.windows.select(slice(at, at + _ROWS_PER_RUN))).hazards for at in starts]
    hazards = np.concatenate(runs)
    return material.judged.mean_auc({task.name: interval_probability(hazards, task) for task in tasks})


def _of_trees(folder: Path, options: StrategyOptions, tasks: Sequence[Task]) -> Iterator[TrialReport]:
    training = options.champion.training
    material = BoostedMaterial.load(trees_folder(folder, training.window_weeks), tasks=tasks)
    trees = Boosted(options=options.boosted)
    trees.fit_tables(material.tables, tasks=tasks, seed=training.seed, progress=lambda _: None)
    threads = options.boosted.threads
    probability = {
        task: np.asarray(booster.predict(material.rows, num_threads=threads), dtype=np.float64)
        for task, booster in trees.boosters.items()
    }
    yield TrialReport(epoch=1, objective=material.judged.mean_auc(probability), finished=True)
