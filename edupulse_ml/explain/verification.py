"""A reason is shown only if taking it away moves the score as claimed (sources.md 5.3, step 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from edupulse_ml.explain.attributions import RiskLogit
from edupulse_ml.explain.concepts import CONCEPTS

MIN_SHARE: Final = 0.5
"""The occluded logit must move in the claimed direction by at least this share of the attribution."""


@dataclass(frozen=True)
class Verdicts:
    """Per candidate: whether its claim holds by itself, and whether occluding it moves the score the right way."""

    holds: NDArray[np.bool_]
    right_direction: NDArray[np.bool_]


@dataclass(frozen=True)
class Candidate:
    """A concept that may be shown for a student: `effect` is its attribution in logits."""

    student: int
    concept: int
    effect: float


def verify(risk_logit: RiskLogit, z_BTF: torch.Tensor, candidates: Sequence[Candidate]) -> Verdicts:
    """Occludes each candidate by itself: one forward pass for all of them."""
    moved = _movement(risk_logit, z_BTF, [(candidate,) for candidate in candidates])
    claimed = np.array([candidate.effect for candidate in candidates])
    towards = np.sign(claimed) * moved
    return Verdicts(holds=towards >= MIN_SHARE * np.abs(claimed), right_direction=towards > 0)


def verify_together(
    risk_logit: RiskLogit, z_BTF: torch.Tensor, groups: Sequence[Sequence[Candidate]]
) -> NDArray[np.bool_]:
    """Which groups [len(groups)] hold when all members, of one student and one sign, are occluded at once.

    For students in trouble everywhere: concepts stand in for one another there, so that taking away a single one moves
    a saturated score little, although together they make it.
    """
    moved = _movement(risk_logit, z_BTF, groups)
    claimed = np.array([sum(candidate.effect for candidate in group) for group in groups])
    return np.sign(claimed) * moved >= MIN_SHARE * np.abs(claimed)


def _movement(risk_logit: RiskLogit, z_BTF: torch.Tensor, groups: Sequence[Sequence[Candidate]]) -> NDArray[np.float32]:
    """[len(groups)] logit of the student minus the logit without the group's concepts."""
    if not groups:
        return np.zeros(0, dtype=np.float32)
    whole = sorted({group[0].student for group in groups})
    position = {student: index for index, student in enumerate(whole)}
    owner = torch.tensor([*whole, *(group[0].student for group in groups)], device=z_BTF.device)
    z_RTF = z_BTF[owner].clone()
    for row, group in enumerate(groups, start=len(whole)):
        for candidate in group:
            z_RTF[row, :, torch.as_tensor(CONCEPTS[candidate.concept].positions, device=z_BTF.device)] = 0.0
    with torch.no_grad():
        logits = risk_logit(z_RTF, owner).cpu().numpy()
    return logits[[position[group[0].student] for group in groups]] - logits[len(whole) :]
