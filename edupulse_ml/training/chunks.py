"""Cutting records into chunks that the network reads in one pass.

A chunk is a window of at most `window_weeks` steps. Its first chunk starts where the record starts, and all its steps
count in the loss; in later chunks only the last half counts, so that a counted step always has its whole record or
at least half a window behind it. Every step counts exactly once per epoch; where the cuts fall is drawn anew.

Legend: N students, J chunks, B chunks of a batch, T steps, F features, M modalities, A aux, C context, K intervals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edupulse_ml.training.data import PreparedTraining

Int64 = NDArray[np.int64]

BATCHES_PER_SORTED_GROUP: Final = 16
"""Chunks are sorted by length within groups of this many batches, which spares most of the padding."""


@dataclass(frozen=True)
class ChunkPlan:
    """J chunks: steps [start, end) of `student`, of which [counted_from, end) count in the loss."""

    student: Int64
    start: Int64
    counted_from: Int64
    end: Int64

    def take(self, order: Int64) -> "ChunkPlan":
        """The chunks at these positions."""
        return ChunkPlan(self.student[order], self.start[order], self.counted_from[order], self.end[order])


@dataclass(frozen=True)
class TrainingBatch:
    """B chunks, padded to the longest."""

    z: Tensor
    """[B, T, F]"""
    mask: Tensor
    """[B, T, M]"""
    aux: Tensor
    """[B, T, A]"""
    context: Tensor
    """[B, T, C]"""
    target: Tensor
    """[B, T, K]"""
    weight: Tensor
    """[B, T, K] 0 where the step does not count."""
    mean_batch_weight: float
    """Mean of the summed weights of the epoch's batches, the same for each of them. A loss divided by it, rather than
    by the weight of the batch itself, leaves to every student the share that `PreparedTraining.weight` gives: batches
    hold records of like length, hence unlike weights."""


def plan_chunks(n_steps: Int64, *, window_weeks: int, rng: np.random.Generator) -> ChunkPlan:
    """Chunks that together count every step below `n_steps` [N] once."""
    stride = max(1, window_weeks // 2)
    student = np.flatnonzero(n_steps > 0)
    steps = n_steps[student]
    first_end = np.minimum(steps, window_weeks)
    parts = [ChunkPlan(student, np.zeros_like(steps), np.zeros_like(steps), first_end)]
    counted_to = first_end
    advance = rng.integers(1, stride + 1, len(student))
    while (longer := counted_to < steps).any():
        student, steps, counted_to, advance = (a[longer] for a in (student, steps, counted_to, advance))
        end = np.minimum(counted_to + advance, steps)
        parts.append(ChunkPlan(student, end - window_weeks, counted_to, end))
        counted_to, advance = end, np.full(len(student), stride)
    return ChunkPlan(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("student", "start", "counted_from", "end")
        )
    )


@dataclass(frozen=True)
class Shard:
    """One worker's share of the batches."""

    rank: int = 0
    world_size: int = 1


def epoch_batches(
    prepared: PreparedTraining, *, window_weeks: int, batch_size: int, seed: tuple[int, int], shard: Shard
) -> Iterator[TrainingBatch]:
    """The batches of one epoch, `seed` being the run's seed and the epoch.

    All workers draw the same plan and take every `world_size`-th batch; each gets the same number of them (the first
    batches come again where they do not divide evenly). `batch_size` is per worker.
    """
    rng = np.random.default_rng(seed)
    plan = plan_chunks(np.asarray(prepared.n_steps), window_weeks=window_weeks, rng=rng)
    order = rng.permutation(len(plan.student))
    length = plan.end - plan.start
    batches: list[Int64] = []
    group = batch_size * BATCHES_PER_SORTED_GROUP
    for at in range(0, len(order), group):
        part = order[at : at + group]
        part = part[np.argsort(length[part], kind="stable")]
        batches.extend(part[i : i + batch_size] for i in range(0, len(part), batch_size))
    positions = rng.permutation(len(batches))
    rounds = -(-len(batches) // shard.world_size)
    mean_batch_weight = float(prepared.weight.sum(dtype=np.float64)) / max(len(batches), 1)
    for turn in range(rounds):
        position = positions[(turn * shard.world_size + shard.rank) % len(batches)]
        yield gather(prepared, plan.take(batches[position]), mean_batch_weight=mean_batch_weight)


def gather(prepared: PreparedTraining, plan: ChunkPlan, *, mean_batch_weight: float) -> TrainingBatch:
    """The arrays of some chunks, left-aligned, zero after the end."""
    steps = int((plan.end - plan.start).max())
    column = plan.start[:, None] + np.arange(steps)[None, :]
    inside = column < plan.end[:, None]
    counted = inside & (column >= plan.counted_from[:, None])
    column = np.minimum(column, prepared.z.shape[1] - 1)
    row = plan.student[:, None]

    def take(values: NDArray[np.float32], where: NDArray[np.bool_]) -> Tensor:
        taken = values[row, column]
        taken[~where] = 0.0
        return torch.from_numpy(taken)

    return TrainingBatch(
        z=take(prepared.z, inside),
        mask=take(prepared.mask, inside),
        aux=take(prepared.aux, inside),
        context=take(prepared.context, inside),
        target=take(prepared.target, counted),
        weight=take(prepared.weight, counted),
        mean_batch_weight=mean_batch_weight,
    )
