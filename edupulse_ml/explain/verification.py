"""A reason is shown only if taking it away moves the score as claimed (science.md 5.3, step 3)."""

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
class Candidate:
    """A concept that may be shown for a student: `effect` is its attribution in logits."""

    student: int
    concept: int
    effect: float


def verify(risk_logit: RiskLogit, z_BTF: torch.Tensor, candidates: list[Candidate]) -> NDArray[np.bool_]:
    """Which candidates hold, [len(candidates)]: one occlusion each, all of them in one forward pass."""
    if not candidates:
        return np.zeros(0, dtype=np.bool_)
    whole = sorted({candidate.student for candidate in candidates})
    position = {student: index for index, student in enumerate(whole)}
    owner = torch.tensor([*whole, *(c.student for c in candidates)], device=z_BTF.device)
    z_RTF = z_BTF[owner].clone()
    for row, candidate in enumerate(candidates, start=len(whole)):
        z_RTF[row, :, torch.as_tensor(CONCEPTS[candidate.concept].positions, device=z_BTF.device)] = 0.0
    with torch.no_grad():
        logits = risk_logit(z_RTF, owner).cpu().numpy()
    full = logits[[position[c.student] for c in candidates]]
    moved = full - logits[len(whole) :]
    claimed = np.array([c.effect for c in candidates])
    return np.sign(claimed) * moved >= MIN_SHARE * np.abs(claimed)
