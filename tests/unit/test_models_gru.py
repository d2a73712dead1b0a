"""The network: causality, padding, attention, and the step pass against the training pass."""

import numpy as np
import pytest
import torch

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import EARLY_TASK, Task, interval_probability, risk_task
from edupulse_ml.models.engines import sample_inputs
from edupulse_ml.models.gru import RiskNet, RiskNetConfig, interval_logit, masked_hazard_loss

SMALL = RiskNetConfig(hidden=8, attention=8, heads=2, fusion=16)


def network(seed=0, config=SMALL):
    torch.manual_seed(seed)
    return RiskNet(config).eval()


def tensors(*, examples=6, steps=9, seed=1):
    inputs = sample_inputs(examples=examples, steps=steps, seed=seed)
    return [torch.from_numpy(getattr(inputs, name)) for name in ("z", "mask", "aux", "context", "length")]


@torch.no_grad()
def test_padding_changes_nothing():
    net = network()
    z, mask, aux, context, length = tensors()
    logits, attention = net(z, mask, aux, context, length)
    for row in range(len(length)):
        steps = int(length[row])
        noisy = z.clone()
        noisy[row, steps:] = 1e3
        again, weights = net(noisy, mask, aux, context, length)
        torch.testing.assert_close(again[row], logits[row])
        torch.testing.assert_close(weights[row], attention[row])
        alone, alone_weights = net(
            z[row : row + 1, :steps], mask[row : row + 1, :steps], aux[row : row + 1, :steps],
            context[row : row + 1], length[row : row + 1],
        )  # fmt: skip
        torch.testing.assert_close(alone[0], logits[row], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(alone_weights[0], attention[row, :steps], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_real_steps_change_something():
    net = network()
    z, mask, aux, context, length = tensors()
    logits, _ = net(z, mask, aux, context, length)
    moved = z.clone()
    moved[:, 0] += 1.0
    assert torch.all((net(moved, mask, aux, context, length)[0] - logits).abs().amax(dim=1) > 1e-6)


@torch.no_grad()
def test_a_step_is_scored_the_same_in_training_and_alone():
    net = network()
    z, mask, aux, context, _ = tensors(examples=4, steps=7)
    every = net.every_step(z, mask, aux, context[:, None].expand(-1, 7, -1))
    for step in range(7):
        length = torch.full((4,), step + 1)
        last, _ = net(z, mask, aux, context, length)
        torch.testing.assert_close(every[:, step], last, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_later_steps_do_not_change_earlier_ones():
    net = network()
    z, mask, aux, context, _ = tensors(steps=8)
    context = context[:, None].expand(-1, 8, -1)
    before = net.every_step(z, mask, aux, context)
    z[:, 5:], mask[:, 5:], aux[:, 5:] = 3.0, 0.0, -2.0
    after = net.every_step(z, mask, aux, context)
    torch.testing.assert_close(after[:, :5], before[:, :5])
    assert (after[:, 5:] - before[:, 5:]).abs().max() > 1e-4


@torch.no_grad()
def test_attention_sums_to_one_over_real_steps():
    z, mask, aux, context, length = tensors(examples=20, steps=11)
    _, attention = network()(z, mask, aux, context, length)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(20))
    for row, steps in zip(attention, length, strict=True):
        assert torch.all(row[: int(steps)] > 0)
        assert torch.all(row[int(steps) :] == 0)


def test_dropping_modalities_happens_in_training_only():
    net = network(config=RiskNetConfig(hidden=8, attention=8, fusion=8, dropout=0.0, modality_dropout=1.0))
    z, mask, aux, context, _ = tensors()
    context = context[:, None].expand(-1, z.shape[1], -1)
    with torch.no_grad():
        evaluated = net.every_step(z, mask, aux, context)
        blind = net.every_step(torch.zeros_like(z), torch.zeros_like(mask), aux, context)
        trained = net.train().every_step(z, mask, aux, context)
    torch.testing.assert_close(trained, blind)
    assert (evaluated - trained).abs().max() > 1e-4


def test_a_unit_dropped_at_one_step_is_dropped_at_all():
    net = network(config=RiskNetConfig(hidden=16, attention=8, fusion=8, dropout=0.5, modality_dropout=0.0)).train()
    z, mask, aux, _, _ = tensors(steps=6)
    with torch.no_grad():
        hidden = net._encode(z, mask, aux)
    dropped = hidden == 0
    assert 0.3 < dropped.float().mean() < 0.7
    torch.testing.assert_close(dropped, dropped[:, :1].expand_as(dropped))


def test_every_parameter_learns():
    net = network().train()
    z, mask, aux, context, _ = tensors(examples=16, steps=5)
    logits = net.every_step(z, mask, aux, context[:, None].expand(-1, 5, -1))
    masked_hazard_loss(logits, torch.rand_like(logits).round(), torch.ones_like(logits)).backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # The softmax is unmoved by a constant added to all keys.
    assert silent in ([], ["key.bias"])


@torch.no_grad()
def test_it_starts_from_the_base_hazards():
    net = RiskNet(RiskNetConfig())
    rates = torch.tensor([0.01, 0.02, 0.005, 0.03, 0.1])
    net.start_from(rates)
    z, mask, aux, context, length = tensors(examples=50, steps=10)
    logits, _ = net.eval()(z, mask, aux, context, length)
    np.testing.assert_allclose(torch.sigmoid(logits).mean(dim=0), rates, rtol=0.3)


@pytest.mark.parametrize("task", [risk_task(), EARLY_TASK, Task("any", 0, 365), Task("beyond", 0, 400)])
def test_the_interval_logit_is_the_logit_of_the_probability(task):
    logits = torch.randn(200, 5, dtype=torch.float64) * 3
    probability = interval_probability(torch.sigmoid(logits).numpy(), task)
    expected = np.log(probability) - np.log1p(-probability)
    np.testing.assert_allclose(interval_logit(logits, task).numpy(), expected, rtol=1e-6, atol=1e-9)


def test_the_interval_logit_stays_finite_at_the_ends():
    logits = torch.tensor([[-200.0] * 5, [80.0] * 5], requires_grad=True)
    answer = interval_logit(logits, risk_task())
    answer.sum().backward()
    assert torch.isfinite(answer).all()
    assert torch.isfinite(logits.grad).all()


def test_tasks_between_the_edges_are_refused():
    with pytest.raises(InvalidInputError, match="must start and end"):
        interval_logit(torch.zeros(1, 5), Task("odd", 0, 45))


def test_unknown_intervals_carry_no_loss():
    target, weight = torch.zeros(4, 5), torch.zeros(4, 5)
    weight[0, 0] = 2.0
    logits = torch.zeros(4, 5)
    assert masked_hazard_loss(logits, target, weight).item() == pytest.approx(np.log(2))
    logits[1:] = 100.0
    assert masked_hazard_loss(logits, target, weight).item() == pytest.approx(np.log(2))
    assert masked_hazard_loss(logits, target, torch.zeros(4, 5)).item() == 0.0


def test_heads_must_divide_the_attention_units():
    with pytest.raises(InvalidInputError, match="split 10 units over 4 heads"):
        RiskNet(RiskNetConfig(attention=10))
