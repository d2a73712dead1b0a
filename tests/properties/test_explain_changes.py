"""The parts of a move sum to it, whatever changed and whatever the model."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.core.sequences import FeatureBlock, SequenceBatch, last_windows
from edupulse_ml.explain.change_windows import change_windows
from edupulse_ml.explain.changes import explain_change
from tests.fakes.serving import student_block

MAX_WEEKS = 12


def random_block(rng: np.random.Generator, weeks: int) -> FeatureBlock:
    whole = student_block(0.0, weeks=weeks)
    block = FeatureBlock(**{name: array[:, -weeks:].copy() for name, array in vars(whole).items()})
    block.values[:] = np.where(rng.random(block.values.shape) < 0.2, np.nan, rng.random(block.values.shape))
    return block


def random_model(rng: np.random.Generator):
    weights = rng.normal(size=(42, MAX_WEEKS)).astype(np.float64)

    def risk(batch: SequenceBatch) -> np.ndarray:
        steps = batch.values.shape[1]
        raw = np.einsum("btf,ft->b", np.nan_to_num(batch.values), weights[:, :steps])
        return 1 / (1 + np.exp(-np.sin(raw)))

    return risk


def logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    weeks=st.integers(2, MAX_WEEKS),
    seen=st.integers(1, MAX_WEEKS),
    window_weeks=st.integers(1, MAX_WEEKS),
    other_model=st.booleans(),
    corrected=st.booleans(),
)
def test_parts_sum_to_the_move(
    seed: int, weeks: int, seen: int, window_weeks: int, *, other_model: bool, corrected: bool
) -> None:
    rng = np.random.default_rng(seed)
    after = random_block(rng, weeks)
    uncorrected = random_block(rng, weeks) if corrected else after
    seen = min(seen, weeks)
    known = random_block(rng, weeks) if corrected else after
    before = FeatureBlock(**{name: array[:, :seen] for name, array in vars(known).items()})
    if corrected:
        # Up to the week that was seen, later knowledge changes nothing.
        for name, array in vars(uncorrected).items():
            array[:, :seen] = getattr(after, name)[:, :seen]
    score = random_model(rng)
    new_model = random_model(rng) if other_model else None
    windows = change_windows(before, after, uncorrected, last_week=int(before.week[0, -1]), window_weeks=window_weeks)
    last = last_windows(after, window_weeks=window_weeks)
    change = explain_change(windows, score=score, new_model=new_model, new_window=last)
    first = last_windows(before, window_weeks=window_weeks)
    start, end = float(score(first)[0]), float((new_model or score)(last)[0])
    assert sum(part.logit for part in change.parts) == pytest.approx(logit(end) - logit(start), abs=1e-9)
    assert sum(part.probability for part in change.parts) == pytest.approx(end - start, abs=1e-9)
    moved = {part.part for part in change.parts if part.logit != 0}
    assert corrected or "corrected_records" not in moved
    assert other_model or "new_model" not in moved
    assert seen < weeks or not {"new_records", "left_window"} & moved
