"""Cutting records into chunks, and the arrays they give."""

from collections import Counter

import numpy as np
import pytest
import torch

from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.training.chunks import ChunkPlan, Shard, epoch_batches, gather, plan_chunks
from edupulse_ml.training.data import prepare_training
from edupulse_ml.training.options import TrainingOptions
from tests.fakes.training_data import make_training_data

OPTIONS = TrainingOptions(window_weeks=8, validation_rows=50)


@pytest.fixture(scope="module")
def prepared():
    data = make_training_data(n_students=60, n_weeks=30, seed=3, hazard=0.003)
    return prepare_training(data, data, norms=InputNorms.fit(data), task=risk_task(), options=OPTIONS)


def counted(plan):
    return Counter(
        (int(s), step)
        for s, a, b in zip(plan.student, plan.counted_from, plan.end, strict=True)
        for step in range(a, b)
    )


@pytest.mark.parametrize("window", [1, 2, 5, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_step_counts_once_with_half_a_window_behind_it(window, seed):
    n_steps = np.array([0, 1, 4, 19, 20, 21, 22, 57, 100])
    plan = plan_chunks(n_steps, window_weeks=window, rng=np.random.default_rng(seed))
    expected = {(student, step) for student, n in enumerate(n_steps) for step in range(n)}
    assert counted(plan) == Counter(expected)
    assert np.all(plan.end - plan.start <= window)
    assert np.all(plan.start >= 0)
    behind = plan.counted_from - plan.start
    assert np.all((plan.start == 0) | (behind >= window - max(1, window // 2)))


def test_cuts_are_drawn_anew():
    n_steps = np.full(50, 60)
    first, second = (plan_chunks(n_steps, window_weeks=20, rng=np.random.default_rng(s)) for s in (1, 2))
    assert first.end.tolist() != second.end.tolist()


def test_gathered_arrays_hold_the_chunk_and_nothing_else(prepared):
    student = int(np.argmax(prepared.n_steps))
    plan = ChunkPlan(*(np.array(v) for v in ([student, student], [0, 5], [0, 9], [3, 13])))
    batch = gather(prepared, plan, mean_batch_weight=2.5)
    assert batch.mean_batch_weight == 2.5
    assert batch.z.shape[:2] == (2, 8)
    np.testing.assert_array_equal(batch.z[0, :3], prepared.z[student, :3])
    assert torch.all(batch.z[0, 3:] == 0)
    np.testing.assert_array_equal(batch.context[1], prepared.context[student, 5:13])
    assert torch.all(batch.weight[1, :4] == 0)
    np.testing.assert_array_equal(batch.weight[1, 4:], prepared.weight[student, 9:13])


def total_weight(batches):
    return sum(float(batch.weight.sum()) for batch in batches)


def test_an_epoch_carries_every_weight_once(prepared):
    batches = epoch_batches(prepared, window_weeks=8, batch_size=16, seed=(0, 1), shard=Shard())
    assert total_weight(batches) == pytest.approx(float(prepared.weight.sum()), rel=1e-5)


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_an_epoch_in_equal_numbers(prepared, workers):
    def batches(shard):
        return list(epoch_batches(prepared, window_weeks=8, batch_size=16, seed=(0, 1), shard=shard))

    alone = batches(Shard())
    shared = [batches(Shard(rank, workers)) for rank in range(workers)]
    assert len({len(part) for part in shared}) == 1
    sums = Counter(round(float(batch.z.sum()), 2) for part in shared for batch in part)
    assert set(sums) == {round(float(batch.z.sum()), 2) for batch in alone}


@pytest.mark.parametrize("workers", [1, 3])
def test_every_batch_of_every_worker_names_the_mean_batch_weight(prepared, workers):
    every = list(epoch_batches(prepared, window_weeks=8, batch_size=16, seed=(0, 1), shard=Shard()))
    own = [float(batch.weight.sum()) for batch in every]
    assert max(own) > 1.2 * min(own)
    for rank in range(workers):
        shard = Shard(rank, workers)
        for batch in epoch_batches(prepared, window_weeks=8, batch_size=16, seed=(0, 1), shard=shard):
            assert batch.mean_batch_weight == pytest.approx(np.mean(own), rel=1e-5)


def test_the_seed_decides_the_batches(prepared):
    def first(seed):
        return next(epoch_batches(prepared, window_weeks=8, batch_size=16, seed=seed, shard=Shard()))

    torch.testing.assert_close(first((0, 1)).z, first((0, 1)).z)
    assert first((0, 1)).z.shape != first((0, 2)).z.shape or not torch.equal(first((0, 1)).z, first((0, 2)).z)
