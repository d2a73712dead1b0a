"""Integrated gradients of the risk network on a CPU, with the recurrence differentiated by hand.

The same numbers as `attributions.integrated_gradients` over the network's autograd, at a fraction of the time, because
of what is known of this path: inputs differ between its points by one factor, so input products are made once per
student, not per point; gradients of the gates are summed over the points before they meet the input weights; nothing
but the inputs is differentiated; and one query attends, so that keys and values are never formed.

Legend: S students, P path points, R = P x S rows (points outermost), T steps, M branches, U units of one branch,
G = 3 gates (reset, update, new), F features, E attention heads, D units of one head, H = M x U.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from edupulse_ml.core.contract import MODALITIES, modality_slice
from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.sequences import Float32
from edupulse_ml.explain.attributions import PATH_POINTS, RiskLogit
from edupulse_ml.explain.path_weights import attention_weights, head_gradients, recurrence_weights
from edupulse_ml.models.gru import RiskNet
from edupulse_ml.models.inputs import ModelInputs

ROWS_PER_PASS: Final = 128
"""Rows differentiated at a time: what a step touches stays in one core's cache."""
FEW_POINTS: Final = 12
"""Path points tried first: on a trained network 97 % of students are complete to `COMPLETENESS` with them, 67 % with 8,
and 100 % with 16, at a third more work for all."""
COMPLETENESS: Final = 1e-4
"""Logits by which attributions may miss the difference they add up to, before `PATH_POINTS` are used: a two-hundredth of
the smallest effect that is ever shown."""
_NORM_EPSILON: Final = np.float32(1e-5)


@dataclass(frozen=True)
class _Gates:
    """What the backward pass needs of every step: [T, 2, M, R, U] and [T, M, R, U]."""

    open: Float32
    new: Float32
    recurrent_new: Float32
    state: Float32
    """[T + 1, M, R, U] before each step, and after the last."""


class RecurrentPath:
    """Attributions of one network and task; holds copies of the weights, so make a new one for other weights."""

    def __init__(self, network: RiskNet, task: Task) -> None:
        self._recurrence = recurrence_weights(network)
        self._attention = attention_weights(network)
        self._head = head_gradients(network, task)
        self._slices = [modality_slice(modality) for modality in MODALITIES]

    def attributions(self, inputs: ModelInputs, *, path_points: int) -> Float32:
        """[S, T, F] the attribution of every cell, over `path_points` Gauss-Legendre points; 0 at padding."""
        nodes, weights = np.polynomial.legendre.leggauss(path_points)
        alphas, shares = ((nodes + 1) / 2).astype(np.float32), (weights / 2).astype(np.float32)
        out = np.zeros(inputs.z.shape, dtype=np.float32)
        students = max(1, ROWS_PER_PASS // path_points)
        for start in range(0, len(inputs.length), students):
            part = slice(start, start + students)
            # Steps after the longest record of the part are padding to all of them.
            steps = max(1, int(inputs.length[part].max()))
            out[part, :steps] = self._attribute(inputs.select(part).shortened(steps), alphas, shares)
        return out

    def _attribute(self, inputs: ModelInputs, alphas: Float32, shares: Float32) -> Float32:
        by_z, constant = self._input_products(inputs)
        gates = self._run(by_z, constant, alphas)
        to_state = self._state_gradients(gates.state[1:], inputs, points=len(alphas))
        gate_gradients = self._run_back(gates, to_state, shares)
        gradient = np.empty_like(inputs.z)
        for branch, part in enumerate(self._slices):
            merged = gate_gradients[:, :, branch].transpose(2, 0, 1, 3)
            gradient[..., part] = merged.reshape(*merged.shape[:2], -1) @ self._recurrence.features[branch].T
        return gradient * inputs.z

    def _input_products(self, inputs: ModelInputs) -> tuple[Float32, Float32]:
        """[T, G, M, S, U] what the z-scores add to the gates, and what the rest adds."""
        students, steps = inputs.z.shape[:2]
        gates, branches, units = self._recurrence.bias.shape
        by_z, constant = (np.empty((steps, gates, branches, students, units), dtype=np.float32) for _ in range(2))
        for branch, part in enumerate(self._slices):
            rest = np.concatenate([inputs.mask[..., branch : branch + 1], inputs.aux], axis=2)
            for target, values, weight in (
                (by_z, inputs.z[..., part], self._recurrence.features[branch]),
                (constant, rest, self._recurrence.channels[branch]),
            ):
                product = (values @ weight).reshape(students, steps, gates, units)
                target[:, :, branch] = product.transpose(1, 2, 0, 3)
        constant += self._recurrence.bias[:, :, None]
        for target in (by_z, constant):
            target[:, :2] *= np.float32(0.5)
        return by_z, constant

    def _run(self, by_z: Float32, constant: Float32, alphas: Float32) -> _Gates:
        """The recurrence over all steps and path points."""
        steps, _, branches, students, units = by_z.shape
        rows = len(alphas) * students
        shape = (branches, rows, units)
        stored = _Gates(
            open=np.empty((steps, 2, *shape), dtype=np.float32),
            new=np.empty((steps, *shape), dtype=np.float32),
            recurrent_new=np.empty((steps, *shape), dtype=np.float32),
            state=np.zeros((steps + 1, *shape), dtype=np.float32),
        )
        factor = alphas[:, None, None]
        given = np.empty((3, branches, len(alphas), students, units), dtype=np.float32)
        given_rows = given.reshape(3, *shape)
        recurrent = np.empty((3, *shape), dtype=np.float32)
        for step in range(steps):
            state, opened, new = stored.state[step], stored.open[step], stored.new[step]
            np.multiply(by_z[step][:, :, None], factor, out=given)
            given += constant[step][:, :, None]
            np.matmul(state, self._recurrence.forward, out=recurrent)
            np.add(given_rows[:2], recurrent[:2], out=opened)
            np.tanh(opened, out=opened)
            opened += np.float32(1.0)
            opened *= np.float32(0.5)
            inner = np.add(recurrent[2], self._recurrence.new_bias, out=stored.recurrent_new[step])
            np.multiply(opened[0], inner, out=new)
            new += given_rows[2]
            np.tanh(new, out=new)
            after = np.subtract(state, new, out=stored.state[step + 1])
            after *= opened[1]
            after += new
        return stored

    def _state_gradients(self, state_TMRU: Float32, inputs: ModelInputs, *, points: int) -> Float32:
        """[T, M, R, U] gradient of the summed risk logits with respect to each state, apart from the recurrence."""
        steps, branches, rows, units = state_TMRU.shape
        length = np.tile(inputs.length, points)
        last = np.maximum(length - 1, 0)
        every, each = np.arange(rows), np.arange(len(inputs.length))
        # As many rows of one branch, so that their means are one product.
        normal = state_TMRU.transpose(2, 0, 1, 3).copy().reshape(-1, units)
        mean_of = np.full((units, 1), 1.0 / units, dtype=np.float32)
        normal -= normal @ mean_of
        inverse: Float32 = np.reciprocal(np.sqrt((normal * normal) @ mean_of + _NORM_EPSILON))
        normal *= inverse
        normal_RTH = normal.reshape(rows, steps, branches * units)
        scored = normal_RTH[every, last]
        lookup = self._lookup(scored)
        score = normal_RTH @ lookup.transpose(0, 2, 1)
        score[np.arange(steps)[None, :] > last[:, None]] = -np.inf
        score -= score.max(axis=1, keepdims=True)
        weight: Float32 = np.exp(score, out=score)
        weight /= weight.sum(axis=1, keepdims=True)
        attended = weight.transpose(0, 2, 1) @ normal_RTH
        fixed = np.concatenate([inputs.context, inputs.mask[each, last[: len(each)]]], axis=1)
        to_scored, to_attended = self._head(scored, attended, np.tile(fixed, (points, 1)))
        to_weight = normal_RTH @ to_attended.transpose(0, 2, 1)
        to_score = weight * (to_weight - (weight * to_weight).sum(axis=1, keepdims=True))
        to_normal = np.concatenate([weight, to_score], axis=2) @ np.concatenate([to_attended, lookup], axis=1)
        to_lookup = to_score.transpose(0, 2, 1) @ normal_RTH
        to_normal[every, last] += to_scored + self._lookup_back(to_lookup)
        to_flat = to_normal.reshape(-1, units)
        normal *= (to_flat * normal) @ mean_of
        to_flat -= to_flat @ mean_of
        to_flat -= normal
        to_flat *= inverse
        return np.ascontiguousarray(to_flat.reshape(rows, steps, branches, units).transpose(1, 2, 0, 3))

    def _lookup(self, scored: Float32) -> Float32:
        """[R, E, H] what each head of each row's query compares a state with."""
        query: Float32 = np.tensordot(scored, self._attention.query, axes=1)
        query += self._attention.query_bias
        return (query.transpose(1, 0, 2) @ self._attention.key).transpose(1, 0, 2)

    def _lookup_back(self, to_lookup: Float32) -> Float32:
        to_query = to_lookup.transpose(1, 0, 2) @ self._attention.key.transpose(0, 2, 1)
        axes = ([1, 2], [1, 2])
        return np.tensordot(to_query.transpose(1, 0, 2), self._attention.query, axes=axes).astype(
            np.float32, copy=False
        )

    def _run_back(self, gates: _Gates, to_state: Float32, shares: Float32) -> Float32:
        """[T, G, M, S, U] gradient with respect to what the gates are given, weighted over the path's points."""
        steps, branches, rows, units = to_state.shape
        points = len(shares)
        students = rows // points
        out = np.empty((steps, 3, branches, 1, students * units), dtype=np.float32)
        given = np.empty((3, branches, rows, units), dtype=np.float32)
        recurrent = np.empty_like(given)
        returned = np.empty_like(given)
        flowing = np.zeros((branches, rows, units), dtype=np.float32)
        scratch = np.empty_like(flowing)
        one = np.float32(1.0)
        for step in range(steps - 1, -1, -1):
            (reset, update), new = gates.open[step], gates.new[step]
            flowing += to_state[step]
            np.subtract(gates.state[step], new, out=given[1])
            given[1] *= flowing
            given[1] *= update
            np.subtract(one, update, out=scratch)
            given[1] *= scratch
            np.multiply(flowing, scratch, out=given[2])
            np.multiply(new, new, out=scratch)
            np.subtract(one, scratch, out=scratch)
            given[2] *= scratch
            np.multiply(given[2], reset, out=recurrent[2])
            np.subtract(one, reset, out=scratch)
            np.multiply(recurrent[2], gates.recurrent_new[step], out=given[0])
            given[0] *= scratch
            recurrent[:2] = given[:2]
            np.matmul(shares[None, :], given.reshape(3, branches, points, -1), out=out[step])
            flowing *= update
            np.matmul(recurrent, self._recurrence.backward, out=returned)
            for part in returned:
                flowing += part
        return out.reshape(steps, 3, branches, students, units)


def attributions_to_tolerance(path: RecurrentPath, inputs: ModelInputs, logit: RiskLogit) -> Float32:
    """[S, T, F] attributions over as few path points as leave them complete, at most `PATH_POINTS`.

    `logit` gives the risk logit of rows of `inputs`: what the attributions of a student must add up to is the difference
    between the student's and that of the typical one.
    """
    attribution = path.attributions(inputs, path_points=FEW_POINTS)
    students = np.arange(len(inputs.length))
    if not len(students):
        return attribution
    z_BTF = torch.from_numpy(inputs.z)
    owner = torch.from_numpy(np.tile(students, 2))
    with torch.no_grad():
        whole, typical = logit(torch.cat([z_BTF, torch.zeros_like(z_BTF)]), owner).numpy().reshape(2, -1)
    incomplete = students[np.abs(attribution.sum(axis=(1, 2)) - (whole - typical)) > COMPLETENESS]
    if len(incomplete):
        attribution[incomplete] = path.attributions(inputs.select(incomplete), path_points=PATH_POINTS)
    return attribution
