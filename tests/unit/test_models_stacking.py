"""Weights of members: never negative, as good as any others, drawn to equal ones by little data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.models.strategies.stacking import PRIOR_PRECISION, Stack, fit_stack


def cohort(*, seed, rows=2000, weights=(0.7, 0.5), intercept=-1.0, noise=1.0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=rows)
    members = truth[:, None] + noise * rng.normal(size=(rows, len(weights)))
    label = rng.random(rows) < 1 / (1 + np.exp(-(members @ np.array(weights) + intercept)))
    return members, label.astype(np.int8), np.arange(rows)


def loss(stack, members, label, student, prior=PRIOR_PRECISION):
    _, position, weeks = np.unique(student, return_inverse=True, return_counts=True)
    logit = members @ np.array(stack.weights) + stack.intercept
    likelihood = (np.logaddexp(0, logit) - label * logit) / weeks[position]
    return likelihood.sum() + 0.5 * prior * ((np.array(stack.weights) - 1 / members.shape[1]) ** 2).sum()


def test_it_finds_the_weights_that_made_the_outcomes():
    members, label, student = cohort(seed=1, rows=40_000)
    stack = fit_stack(members, label, student=student)
    np.testing.assert_allclose(stack.weights, (0.7, 0.5), atol=0.06)
    assert stack.intercept == pytest.approx(-1.0, abs=0.06)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(20, 400), harmful=st.floats(-1.5, 1.5), n=st.integers(2, 3))
def test_no_other_weights_are_better(seed, rows, harmful, n):
    members, label, student = cohort(seed=seed, rows=rows, weights=(0.6, harmful, 0.1)[:n])
    label[:2] = (0, 1)
    student = student // 3
    stack = fit_stack(members, label, student=student)
    assert min(stack.weights) >= 0
    best = loss(stack, members, label, student)
    rng = np.random.default_rng(seed)
    for size in (1.0, 0.1, 0.01):
        for _ in range(60):
            weights = np.maximum(np.array(stack.weights) + size * rng.normal(size=n), 0)
            other = Stack(tuple(weights), stack.intercept + size * rng.normal())
            assert loss(other, members, label, student) >= best - 1e-7


def test_a_member_that_harms_gets_nothing():
    members, label, student = cohort(seed=2, weights=(1.0, -0.8))
    assert fit_stack(members, label, student=student).weights[1] == 0.0


def test_little_data_leaves_the_weights_nearly_equal():
    members, label, student = cohort(seed=3, rows=60, weights=(1.0, 0.0))
    few, many = (
        fit_stack(*(part[:n] for part in (members, label)), student=student[:n])
        for n, (members, label, student) in (
            (60, (members, label, student)),
            (20_000, cohort(seed=3, rows=20_000, weights=(1.0, 0.0))),
        )
    )
    assert abs(few.weights[0] - few.weights[1]) < abs(many.weights[0] - many.weights[1])


def test_weeks_of_one_student_count_as_one():
    members, label, student = cohort(seed=4, rows=300)
    repeated = fit_stack(np.repeat(members, 5, axis=0), np.repeat(label, 5), student=np.repeat(student, 5))
    once = fit_stack(members, label, student=student)
    np.testing.assert_allclose(repeated.weights, once.weights, atol=1e-6)


def test_members_that_agree_share_the_weight():
    members, label, student = cohort(seed=5, noise=0.0)
    stack = fit_stack(members, label, student=student)
    assert stack.weights[0] == pytest.approx(stack.weights[1], abs=1e-6)


@pytest.mark.parametrize("label", [np.zeros(5), np.ones(5), np.zeros(0)])
def test_outcomes_of_one_kind_are_refused(label):
    with pytest.raises(InvalidInputError, match="both kinds"):
        fit_stack(np.zeros((len(label), 2)), label.astype(int), student=np.arange(len(label)))


def test_the_logit_is_the_weighted_sum():
    assert Stack((0.5, 2.0), -1.0).logit(np.array([[2.0, 1.0]]))[0] == 2.0
    assert Stack.equal(2).weights == (0.5, 0.5)
