"""Weights of the risk network as `recurrent_path` reads them: stacked over branches, norms folded into what follows.

Legend: R rows, M branches, U units of one branch, G = 3 gates (reset, update, new), F features, A step channels,
E attention heads, D units of one head, H = M x U.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from edupulse_ml.core.contract import MODALITIES, modality_slice
from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.sequences import Float32
from edupulse_ml.models.gru import RiskNet, interval_logit

_HALVED = np.array([0.5, 0.5, 1.0], dtype=np.float32)
_OUTSIDE_RESET = np.array([1.0, 1.0, 0.0], dtype=np.float32)
"""The reset gate multiplies the recurrent bias of the new gate, so that one cannot join the input's."""


@dataclass(frozen=True)
class RecurrenceWeights:
    """Weights of all branches, stacked. Those of the reset and update gates are halved: sigmoid(x) = (1 + tanh(x/2)) / 2."""

    forward: Float32
    """[G, M, U, U] from the state to the gates."""
    backward: Float32
    """[G, M, U, U] transposed, unhalved: from the gates' gradients to the state's."""
    new_bias: Float32
    """[M, 1, U] recurrent bias of the new gate, which the reset gate multiplies."""
    bias: Float32
    """[G, M, U] every other bias."""
    features: tuple[Float32, ...]
    """Per branch [F of the branch, G * U] from z-scores to the gates."""
    channels: tuple[Float32, ...]
    """Per branch [1 + A, G * U] from the mask and the step channels to the gates."""


@dataclass(frozen=True)
class AttentionWeights:
    """Linear maps around the attention, over normalised states without scale and shift; keys' constant part vanishes in
    the softmax.
    """

    query: Float32
    """[H, E, D] divided by the root of D."""
    query_bias: Float32
    """[E, D]"""
    key: Float32
    """[E, D, H]"""


def recurrence_weights(network: RiskNet) -> RecurrenceWeights:
    """Copies of the weights of all branches."""
    forward, backward, new_bias, bias, features, channels = [], [], [], [], [], []
    for branch, modality in zip(network.branches, MODALITIES, strict=True):
        weight = {name: value.detach().cpu().numpy() for name, value in branch.named_parameters()}
        units = weight["weight_hh_l0"].shape[1]
        recurrent = weight["weight_hh_l0"].reshape(3, units, units)
        backward.append(recurrent)
        forward.append(recurrent.transpose(0, 2, 1) * _HALVED[:, None, None])
        own, other = (weight[name].reshape(3, units) for name in ("bias_ih_l0", "bias_hh_l0"))
        new_bias.append(other[2][None])
        bias.append(own + other * _OUTSIDE_RESET[:, None])
        width = modality_slice(modality).stop - modality_slice(modality).start
        features.append(np.ascontiguousarray(weight["weight_ih_l0"][:, :width].T))
        channels.append(np.ascontiguousarray(weight["weight_ih_l0"][:, width:].T))
    return RecurrenceWeights(
        forward=np.ascontiguousarray(np.stack(forward, axis=1)),
        backward=np.ascontiguousarray(np.stack(backward, axis=1)),
        new_bias=np.stack(new_bias),
        bias=np.stack(bias, axis=1),
        features=tuple(features),
        channels=tuple(channels),
    )


def _affine(network: RiskNet) -> tuple[torch.Tensor, torch.Tensor]:
    """[H] scale and shift of the layer norms of all branches."""
    parameters = [dict(norm.named_parameters()) for norm in network.norms]
    return (
        torch.cat([each["weight"] for each in parameters]).detach().cpu(),
        torch.cat([each["bias"] for each in parameters]).detach().cpu(),
    )


def attention_weights(network: RiskNet) -> AttentionWeights:
    """Queries and keys with the layer norms folded into them."""
    scale, shift = _affine(network)
    heads = network.config.heads
    query = network.query.weight.detach().cpu().unflatten(0, (heads, -1))
    key = network.key.weight.detach().cpu().unflatten(0, (heads, -1))
    root = query.shape[1] ** 0.5
    bias = network.query.bias.detach().cpu().unflatten(0, (heads, -1)) + query @ shift
    return AttentionWeights(
        query=np.ascontiguousarray((query * scale / root).permute(2, 0, 1).numpy()),
        query_bias=(bias / root).numpy(),
        key=np.ascontiguousarray((key * scale).numpy()),
    )


HeadGradients = Callable[[Float32, Float32, Float32], tuple[Float32, Float32]]
"""(scored state [R, H], what it attends to [R, E, H], context and masks of the scored step [R, C + M]) -> gradients of the
summed risk logits with respect to the first two."""


def head_gradients(network: RiskNet, task: Task) -> HeadGradients:
    """The differentiated head of a network and task."""
    scale, shift = _affine(network)
    heads = network.config.heads
    value = network.value.weight.detach().cpu().unflatten(0, (heads, -1))
    value_bias = network.value.bias.detach().cpu()
    fusion, fusion_bias = network.fusion.weight.detach().cpu(), network.fusion.bias.detach().cpu()
    last_weight, last_bias = network.head.weight.detach().cpu(), network.head.bias.detach().cpu()

    def gradients(scored: Float32, attended: Float32, fixed: Float32) -> tuple[Float32, Float32]:
        with torch.enable_grad():
            state = torch.from_numpy(scored).requires_grad_()
            seen = torch.from_numpy(attended).requires_grad_()
            read = torch.einsum("reh,edh->red", seen * scale + shift, value).flatten(1) + value_bias
            joined = torch.cat([state * scale + shift, read, torch.from_numpy(fixed)], dim=1)
            fused = torch.nn.functional.gelu(torch.nn.functional.linear(joined, fusion, fusion_bias))
            logit = interval_logit(torch.nn.functional.linear(fused, last_weight, last_bias), task)
            to_state, to_seen = torch.autograd.grad(logit.sum(), (state, seen))
        return to_state.numpy(), to_seen.numpy()

    return gradients
