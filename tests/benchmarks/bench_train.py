"""`train`: samples per second against a bare PyTorch loop over the same tensors, and time to a fixed loss."""

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from edupulse_ml.core.outcomes import Task
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.training.chunks import Shard, TrainingBatch, epoch_batches
from edupulse_ml.training.data import PreparedTraining, prepare_training
from edupulse_ml.training.distributed import ClusterOptions, fit_distributed
from edupulse_ml.training.epoch import EveryStepHazards, WeightAverage, run_epoch
from edupulse_ml.training.gru_model import stopping_task
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.run import TrainingRun
from jobs.wiring import connected_to_ray
from tests.benchmarks.bare_training import BareTraining
from tests.benchmarks.contenders import Case, Contender, Figures
from tests.benchmarks.experiment import training_set
from tests.benchmarks.measuring import stopwatch
from tests.benchmarks.setting import BenchSetting

HEADLINE: Final = "samples/s"
_SAMPLE: Final = "A sample is one window of a student's record; an epoch counts every step of every record once."
_EPOCHS_ON_RAY: Final = 3
"""The first one is left out: it waits for the workers' imports."""


def cases(setting: BenchSetting) -> Generator[Case]:
    """The training pass alone; epochs with validation, on 0, 1 and 2 Ray workers; time to a fixed validation loss."""
    torch.set_num_threads(1)
    arena = _prepare(setting)
    weeks = arena.options.window_weeks
    yield Case(
        f"Training pass of one epoch, {arena.samples:,} samples of {weeks} weeks, one thread",
        [Contender("EduPulse", arena.our_pass), Contender("bare PyTorch loop", arena.bare_pass)],
        headline=HEADLINE,
        notes=(
            _SAMPLE,
            "Ours gathers its batches, clips the gradient and averages the weights; the bare loop does none of it.",
        ),
    )
    with connected_to_ray(setting.settings(), needed=True) if setting.with_ray else nullcontext():
        yield Case("Epochs with validation", _with_validation(setting, arena), headline=HEADLINE, notes=(_SAMPLE,))
    target = arena.reachable_loss(setting.size(6, small=2))
    yield Case(
        f"Time to a validation loss of {target:.5f}",
        [
            Contender("EduPulse", lambda: arena.our_time_to(target)),
            Contender("bare PyTorch loop", lambda: arena.bare_time_to(target)),
        ],
        headline="seconds",
        lower_is_better=True,
        notes=(
            "The lowest loss that both reach within a few epochs; validation after each epoch is part of the time.",
        ),
        warm_up=False,
    )


def _with_validation(setting: BenchSetting, arena: "_Arena") -> Sequence[Contender]:
    here = [Contender("EduPulse, in this process", arena.our_epoch), Contender("bare PyTorch loop", arena.bare_epoch)]
    if not setting.with_ray:
        return here
    numbers = itertools.count()

    def on_ray(workers: int) -> Callable[[], Figures]:
        return lambda: arena.on_ray(workers, setting.home / "ray-train", f"run-{next(numbers)}")

    one, two = (Contender(f"EduPulse, Ray Train, workers: {n}", on_ray(n)) for n in (1, 2))
    return [one, two, *here]


@dataclass(frozen=True)
class _Arena:
    """The tensors that all contenders read."""

    prepared: PreparedTraining
    options: TrainingOptions
    task: Task
    batches: Sequence[TrainingBatch]

    @property
    def samples(self) -> int:
        return sum(len(batch.z) for batch in self.batches)

    def our_pass(self) -> Figures:
        run = EveryStepHazards(BareTraining(self.prepared, self.options).network)
        optimiser = torch.optim.AdamW(run.parameters(), lr=self.options.learning_rate)
        average = WeightAverage(run.network, decay=self.options.ema_decay)
        with stopwatch() as watch:
            run_epoch(
                run,
                _gathered(self.prepared, self.options),
                optimiser,
                average=average,
                network=run.network,
                gradient_norm=self.options.gradient_norm,
                device=torch.device("cpu"),
            )
        return _figures(self.samples, watch.wall_s, watch.cpu_s)

    def bare_pass(self) -> Figures:
        bare = BareTraining(self.prepared, self.options)
        with stopwatch() as watch:
            bare.epoch(self.batches)
        return _figures(self.samples, watch.wall_s, watch.cpu_s)

    def our_epoch(self) -> Figures:
        run = TrainingRun(self.prepared, self.options, task=self.task)
        with stopwatch() as watch:
            run.next_epoch()
        return _figures(self.samples, watch.wall_s, watch.cpu_s)

    def bare_epoch(self) -> Figures:
        bare = BareTraining(self.prepared, self.options)
        with stopwatch() as watch:
            bare.epoch(self.batches)
            bare.validation_loss(self.task)
        return _figures(self.samples, watch.wall_s, watch.cpu_s)

    def on_ray(self, workers: int, storage: Path, name: str) -> Figures:
        """Samples of all workers per second of an epoch; `seconds` is that of one epoch."""
        options = replace(self.options, epochs=_EPOCHS_ON_RAY, patience=_EPOCHS_ON_RAY)
        cluster = ClusterOptions(storage=storage, run_name=name, num_workers=workers)
        with stopwatch() as watch:
            result = fit_distributed(self.prepared, options, task=self.task, cluster=cluster)
        seconds = [epoch["epoch_seconds"] for epoch in result.history[1:]]
        mean = sum(seconds) / len(seconds)
        return {HEADLINE: self.samples / mean, "seconds": mean, "seconds to start and end": watch.wall_s - sum(seconds)}

    def reachable_loss(self, epochs: int) -> float:
        """The lowest loss that both reach within `epochs`."""
        ours = TrainingRun(self.prepared, self.options, task=self.task)
        bare = BareTraining(self.prepared, self.options)
        best_of_ours = best_of_bare = float("inf")
        for _ in range(epochs):
            best_of_ours = min(best_of_ours, ours.next_epoch()["validation_loss"])
            bare.epoch(self.batches)
            best_of_bare = min(best_of_bare, bare.validation_loss(self.task))
        return max(best_of_ours, best_of_bare)

    def our_time_to(self, target: float) -> Figures:
        run = TrainingRun(self.prepared, self.options, task=self.task)
        epochs = 0
        with stopwatch() as watch:
            while epochs < self.options.epochs:
                epochs += 1
                if run.next_epoch()["validation_loss"] <= target:
                    break
        return {"seconds": watch.wall_s, "epochs": epochs, "CPU s": watch.cpu_s}

    def bare_time_to(self, target: float) -> Figures:
        bare = BareTraining(self.prepared, self.options)
        epochs = 0
        with stopwatch() as watch:
            while epochs < self.options.epochs:
                epochs += 1
                bare.epoch(self.batches)
                if bare.validation_loss(self.task) <= target:
                    break
        return {"seconds": watch.wall_s, "epochs": epochs, "CPU s": watch.cpu_s}


def _prepare(setting: BenchSetting) -> _Arena:
    found = training_set(setting.size(4_000, small=300), window_weeks=setting.size(20, small=8), epochs=30)
    experiment, task = found.experiment, stopping_task(found.experiment.tasks)
    norms = InputNorms.fit(experiment.train)
    prepared = prepare_training(experiment.train, experiment.calibration, norms=norms, task=task, options=found.options)
    return _Arena(prepared, found.options, task, tuple(_gathered(prepared, found.options)))


def _gathered(prepared: PreparedTraining, options: TrainingOptions) -> Generator[TrainingBatch]:
    yield from epoch_batches(
        prepared,
        window_weeks=options.window_weeks,
        batch_size=options.batch_size,
        seed=(options.seed, 1),
        shard=Shard(),
    )


def _figures(samples: int, seconds: float, cpu_s: float) -> Figures:
    return {HEADLINE: samples / seconds, "seconds": seconds, "samples/s of CPU": samples / cpu_s}
