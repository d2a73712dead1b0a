"""The risk network: one GRU per modality, attention queried by the scored step, discrete-time hazards.

Legend: B examples, T steps, Q steps that ask, F features, M modalities, A aux channels, C context columns, H hidden
units of all branches, U attention units, E attention heads, K hazard intervals. Everything is causal: a step sees
itself and what came before, so padding after the last real step influences nothing.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, MODALITIES, modality_slice
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import HAZARD_EDGES_DAYS, N_HAZARDS, Task


@dataclass(frozen=True)
class RiskNetConfig:
    """Shape of a `RiskNet`. `hidden` is per modality, `attention` over all heads and a multiple of `heads`."""

    hidden: int = 32
    attention: int = 32
    heads: int = 4
    fusion: int = 64
    dropout: float = 0.3
    modality_dropout: float = 0.1

    def as_dict(self) -> dict[str, int | float]:
        return asdict(self)


class RiskNet(nn.Module):
    """Hazard logits per interval of `HAZARD_EDGES_DAYS`, and the weights given to the weeks."""

    def __init__(self, config: RiskNetConfig) -> None:
        super().__init__()
        width = config.hidden * len(MODALITIES)
        if config.attention % config.heads:
            msg = f"RiskNet cannot split {config.attention} units over {config.heads} heads: change `attention` or `heads`."
            raise InvalidInputError(msg)
        self.config = config
        self.slices = [modality_slice(modality) for modality in MODALITIES]
        self.branches = nn.ModuleList(
            nn.GRU(part.stop - part.start + 1 + len(AUX_COLUMNS), config.hidden, batch_first=True)
            for part in self.slices
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.hidden) for _ in MODALITIES)
        self.query = nn.Linear(width, config.attention)
        self.key = nn.Linear(width, config.attention)
        self.value = nn.Linear(width, config.attention)
        self.fusion = nn.Linear(width + config.attention + len(CONTEXT_COLUMNS) + len(MODALITIES), config.fusion)
        self.head = nn.Linear(config.fusion, N_HAZARDS)

    def start_from(self, hazards_K: Tensor) -> None:
        """Begin with these hazards for everyone, so that training need not first learn the base rates."""
        rates = hazards_K.clamp(1e-5, 0.5)
        with torch.no_grad():
            self.head.bias.copy_(torch.log(rates / (1 - rates)))
            self.head.weight.mul_(0.1)

    def forward(
        self, z_BTF: Tensor, mask_BTM: Tensor, aux_BTA: Tensor, context_BC: Tensor, length_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hazard logits [B, K] at the last real step and the attention [B, T] paid to each step (mean of heads).

        Attention sums to 1 over the real steps and is 0 at padding. An example without any real step is scored from
        its context and an empty first step.
        """
        hidden_BTH = self._encode(z_BTF, mask_BTM, aux_BTA)
        last_B = (length_B - 1).clamp(min=0)
        state_BH = _at(hidden_BTH, last_B)
        step_T = torch.arange(z_BTF.shape[1], device=z_BTF.device)
        allowed_BT = step_T[None, :] <= last_B[:, None]
        attended_BQU, weight_BEQT = self._attend(state_BH[:, None], hidden_BTH, allowed_BT[:, None, None, :])
        logits = self._fuse(state_BH, attended_BQU[:, 0], context_BC, _at(mask_BTM, last_B))
        return logits, weight_BEQT.mean(dim=1)[:, 0]

    def every_step(self, z_BTF: Tensor, mask_BTM: Tensor, aux_BTA: Tensor, context_BTC: Tensor) -> Tensor:
        """Hazard logits [B, T, K] at every step, each from that step and the ones before it; for training."""
        if self.training:
            z_BTF, mask_BTM = self._drop_modalities(z_BTF, mask_BTM)
        hidden_BTH = self._encode(z_BTF, mask_BTM, aux_BTA)
        steps = z_BTF.shape[1]
        causal_TT = torch.ones(steps, steps, dtype=torch.bool, device=z_BTF.device).tril()
        attended_BTU, _ = self._attend(hidden_BTH, hidden_BTH, causal_TT)
        return self._fuse(hidden_BTH, attended_BTU, context_BTC, mask_BTM)

    def _encode(self, z_BTF: Tensor, mask_BTM: Tensor, aux_BTA: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for index, (part, branch, norm) in enumerate(zip(self.slices, self.branches, self.norms, strict=True)):
            channels = torch.cat([z_BTF[..., part], mask_BTM[..., index : index + 1], aux_BTA], dim=-1)
            hidden, _ = branch(channels)
            outputs.append(norm(hidden))
        hidden_BTH = torch.cat(outputs, dim=-1)
        if not self.training:
            return hidden_BTH
        # One mask for all steps: a unit dropped at one step must not come back at the next.
        keep = functional.dropout(torch.ones_like(hidden_BTH[:, :1]), self.config.dropout)
        return hidden_BTH * keep

    def _attend(self, query_BQH: Tensor, hidden_BTH: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        heads = self.config.heads
        query = self.query(query_BQH).unflatten(-1, (heads, -1)).transpose(1, 2)
        key = self.key(hidden_BTH).unflatten(-1, (heads, -1)).transpose(1, 2)
        value = self.value(hidden_BTH).unflatten(-1, (heads, -1)).transpose(1, 2)
        score_BEQT = query @ key.transpose(-1, -2) / (query.shape[-1] ** 0.5)
        weight_BEQT = score_BEQT.masked_fill(~allowed, -1e9).softmax(dim=-1)
        return (weight_BEQT @ value).transpose(1, 2).flatten(-2), weight_BEQT

    def _fuse(self, state: Tensor, attended: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        fused = functional.gelu(self.fusion(torch.cat([state, attended, context, mask], dim=-1)))
        return self.head(functional.dropout(fused, self.config.dropout, self.training))

    def _drop_modalities(self, z_BTF: Tensor, mask_BTM: Tensor) -> tuple[Tensor, Tensor]:
        keep_BM = (torch.rand_like(mask_BTM[:, 0]) >= self.config.modality_dropout).to(z_BTF.dtype)
        per_feature = torch.cat(
            [keep_BM[:, i : i + 1].expand(-1, part.stop - part.start) for i, part in enumerate(self.slices)], dim=1
        )
        return z_BTF * per_feature[:, None], mask_BTM * keep_BM[:, None]


def _at(values_BTX: Tensor, step_B: Tensor) -> Tensor:
    """[B, X] the values at one step of each example."""
    index = step_B[:, None, None].expand(-1, 1, values_BTX.shape[-1])
    return values_BTX.gather(1, index).squeeze(1)


def interval_logit(logits: Tensor, task: Task) -> Tensor:
    """Logit of P(event in the task's interval) from hazard logits [..., K], shape [...]; stable and differentiable.

    Raises:
        InvalidInputError: the task does not start and end at an edge of `HAZARD_EDGES_DAYS`.
    """
    first, last = hazard_range(task)
    cumulative = functional.softplus(logits[..., first:last]).sum(dim=-1).clamp(min=1e-12)
    return cumulative + torch.log(-torch.expm1(-cumulative))


def hazard_range(task: Task) -> tuple[int, int]:
    """Positions [first, last) of the hazards that make up a task.

    Raises:
        InvalidInputError: the task does not start and end at an edge of `HAZARD_EDGES_DAYS`.
    """
    end_day = min(task.end_day, HAZARD_EDGES_DAYS[-1])
    if task.start_day not in HAZARD_EDGES_DAYS or end_day not in HAZARD_EDGES_DAYS or task.start_day >= end_day:
        msg = f"Task {task.name} must start and end at days of {HAZARD_EDGES_DAYS}: the network has no other hazards."
        raise InvalidInputError(msg)
    return HAZARD_EDGES_DAYS.index(task.start_day), HAZARD_EDGES_DAYS.index(end_day)


def summed_hazard_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of the binary cross-entropy over known intervals; all of one shape [..., K]."""
    return functional.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")


def masked_hazard_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the binary cross-entropy over known intervals; all of one shape [..., K]."""
    return summed_hazard_loss(logits, target, weight) / weight.sum().clamp(min=1e-6)
