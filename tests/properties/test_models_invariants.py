"""What holds for any input: norms, calibration, policy, and the network's causality."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edupulse_ml.core.contract import FEATURE_INDEX, FEATURES
from edupulse_ml.core.predictions import CATEGORIES
from edupulse_ml.models.calibration import fit_calibrator
from edupulse_ml.models.gru import RiskNet, RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.policy import derive_policy
from edupulse_ml.training.chunks import plan_chunks
from tests.fakes.training_data import make_training_data

NORMS = InputNorms.fit(make_training_data(n_students=150, n_weeks=12, seed=1))
FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays(np.float32, (2, 3, len(FEATURES)), elements=FLOATS),
    support=hnp.arrays(np.float32, (2, 3, 5), elements=FLOATS),
    grade=st.integers(-1, 40),
    week=st.integers(0, 90),
)
def test_any_raw_value_gives_finite_bounded_scores(values, support, grade, week):
    aux = np.full((2, 3, 3), week / 40, dtype=np.float32)
    grades = np.full((2, 3), grade, dtype=np.int32)
    with np.errstate(over="ignore", invalid="ignore"):
        z = NORMS.standardise_steps(values=values, support=support, aux=aux, grade_level=grades)
    assert z.dtype == np.float32
    assert np.all(np.abs(z) <= 5.0)


@settings(max_examples=40, deadline=None)
@given(
    low=st.floats(0, 1, width=32),
    more=st.floats(0, 1, width=32),
    days=st.floats(0, 180, width=32),
    name=st.sampled_from([c.name for c in FEATURES if c.monotone == 1]),
)
def test_more_of_a_raw_value_never_lowers_its_score(low, more, days, name):
    values = np.full((2, 1, len(FEATURES)), np.nan, dtype=np.float32)
    values[0, 0, FEATURE_INDEX[name]], values[1, 0, FEATURE_INDEX[name]] = low, low + more
    support = np.full((2, 1, 5), days, dtype=np.float32)
    aux = np.full((2, 1, 3), 0.2, dtype=np.float32)
    z = NORMS.standardise_steps(values=values, support=support, aux=aux, grade_level=np.full((2, 1), 9, dtype=np.int32))
    first, second = z[:, 0, FEATURE_INDEX[name]]
    assert second >= first - 1e-4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(50, 400), base=st.floats(0.1, 0.9))
def test_calibration_keeps_order_and_range(seed, rows, base):
    rng = np.random.default_rng(seed)
    score = rng.random(rows)
    label = (rng.random(rows) < base).astype(np.int8)
    calibrator = fit_calibrator(score, label, student=np.arange(rows), allow_small=True)
    grid = np.linspace(0, 1, 101)
    answer = calibrator.apply(grid)
    assert np.all(np.diff(answer) >= 0)
    assert np.all((answer >= 0) & (answer <= 1))


@settings(max_examples=100, deadline=None)
@given(
    scores=hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1)),
    base=st.floats(0.001, 0.99),
    capacity=st.floats(0.01, 0.5),
)
def test_categories_never_exceed_capacity_or_contradict_the_score(scores, base, capacity):
    policy = derive_policy(scores, base_rate=base, capacity_share=capacity, version="1")
    assert (scores >= policy.critical_from).mean() <= capacity
    assert 0 < policy.moderate_from < policy.high_from < policy.critical_from
    order = {"low": 0, "moderate": 1, "high": 2, "critical": 3}
    ranks = [order[policy.categorise(float(score))] for score in np.sort(scores)]
    assert ranks == sorted(ranks)
    bounds = (policy.moderate_from, policy.high_from, policy.critical_from)
    edges = np.concatenate([scores, bounds, np.nextafter(bounds, 0)])
    assert [CATEGORIES[i] for i in policy.positions(edges)] == [policy.categorise(float(score)) for score in edges]


@settings(max_examples=60, deadline=None)
@given(
    n_steps=hnp.arrays(np.int64, st.integers(1, 20), elements=st.integers(0, 130)),
    window=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_every_step_counts_exactly_once(n_steps, window, seed):
    plan = plan_chunks(n_steps, window_weeks=window, rng=np.random.default_rng(seed))
    counted = np.zeros((len(n_steps), 131), dtype=int)
    for student, start, end in zip(plan.student, plan.counted_from, plan.end, strict=True):
        counted[student, start:end] += 1
    np.testing.assert_array_equal(counted, np.arange(131)[None, :] < n_steps[:, None])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 12), cut=st.integers(0, 11))
@torch.no_grad()
def test_the_future_never_reaches_a_step(seed, steps, cut):
    torch.manual_seed(seed)
    net = RiskNet(RiskNetConfig(hidden=4, attention=4, heads=2, fusion=4)).eval()
    shapes = ((2, steps, 42), (2, steps, 3), (2, steps, 3), (2, steps, 4))
    first = [torch.randn(shape) for shape in shapes]
    second = [values.clone() for values in first]
    for values in second:
        values[:, cut:] = torch.randn_like(values[:, cut:])
    before, after = net.every_step(*first), net.every_step(*second)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], atol=1e-6, rtol=1e-5)
