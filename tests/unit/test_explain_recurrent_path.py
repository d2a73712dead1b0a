"""The recurrence differentiated by hand against autograd, and how many path points it takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edupulse_ml.core.outcomes import EARLY_TASK, risk_task
from edupulse_ml.explain import recurrent_path
from edupulse_ml.explain.attributions import integrated_gradients
from edupulse_ml.explain.recurrent_path import RecurrentPath, attributions_to_tolerance
from edupulse_ml.models.engines import sample_inputs
from edupulse_ml.models.gru import RiskNet, RiskNetConfig, interval_logit

CONFIGS = [
    RiskNetConfig(hidden=8, attention=8, fusion=16),
    RiskNetConfig(hidden=5, attention=6, heads=2, fusion=7),
]


def random_network(config, *, size=0.3, seed=4):
    torch.manual_seed(seed)
    network = RiskNet(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * size)
    return network


def logit_of(network, inputs, task):
    fixed = [torch.from_numpy(a) for a in (inputs.mask, inputs.aux, inputs.context, inputs.length)]

    def logit(z_RTF, student):
        return interval_logit(network(z_RTF, *(values[student] for values in fixed))[0], task)

    return logit


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("task", [risk_task(), EARLY_TASK], ids=lambda task: task.name)
def test_attributions_equal_those_of_autograd(config, task):
    network, inputs = random_network(config), sample_inputs(examples=23, steps=9, seed=6)
    expected = integrated_gradients(logit_of(network, inputs, task), torch.from_numpy(inputs.z), path_points=12)
    answered = RecurrentPath(network, task).attributions(inputs, path_points=12)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(answered, expected, atol=2e-5)


def test_parts_and_padding_change_nothing(monkeypatch):
    network, inputs = random_network(CONFIGS[0]), sample_inputs(examples=9, steps=7, seed=2)
    length = np.array([0, 1, 2, 2, 3, 1, 2, 3, 2])
    real = np.arange(7)[None, :, None] < length[:, None, None]
    inputs = replace(inputs, z=inputs.z * real, mask=inputs.mask * real, aux=inputs.aux * real, length=length)
    path = RecurrentPath(network, risk_task())
    whole = path.attributions(inputs, path_points=8)
    assert not whole[np.broadcast_to(~real, whole.shape)].any()
    assert whole[1:].any(axis=(1, 2)).all()
    expected = integrated_gradients(logit_of(network, inputs, risk_task()), torch.from_numpy(inputs.z), path_points=8)
    np.testing.assert_allclose(whole, expected, atol=2e-5)
    monkeypatch.setattr(recurrent_path, "ROWS_PER_PASS", 16)
    np.testing.assert_allclose(path.attributions(inputs, path_points=8), whole, atol=1e-6)


def test_no_student_has_no_attribution():
    network, inputs = random_network(CONFIGS[0]), sample_inputs(examples=2, steps=4, seed=2)
    nobody = inputs.select(slice(0, 0))
    path = RecurrentPath(network, risk_task())
    assert attributions_to_tolerance(path, nobody, logit_of(network, nobody, risk_task())).shape == (0, 4, 42)


class Noting(RecurrentPath):
    """Notes how many students were attributed with how many points."""

    def attributions(self, inputs, *, path_points):
        self.__dict__.setdefault("asked", []).append((len(inputs.length), path_points))
        return super().attributions(inputs, path_points=path_points)


def test_more_points_are_taken_for_incomplete_students_only():
    inputs = sample_inputs(examples=40, steps=12, seed=8)
    network = random_network(CONFIGS[0], size=0.3)
    logit = logit_of(network, inputs, risk_task())
    path = Noting(network, risk_task())
    attribution = attributions_to_tolerance(path, inputs, logit)
    (first, few), (again, many) = path.asked
    assert (first, few, many) == (40, 12, 32)
    assert 0 < again < 20
    reference = integrated_gradients(logit, torch.from_numpy(inputs.z), path_points=32)
    assert np.abs(attribution.sum(axis=1) - reference.sum(axis=1)).max() <= 1e-4


def test_a_smooth_network_needs_few_points():
    inputs = sample_inputs(examples=10, steps=6, seed=8)
    network = random_network(CONFIGS[0], size=0.05)
    path = Noting(network, risk_task())
    attributions_to_tolerance(path, inputs, logit_of(network, inputs, risk_task()))
    assert path.asked == [(10, 12)]
