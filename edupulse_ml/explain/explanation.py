"""From a batch of windows to verified, worded reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from edupulse_ml.core.contract import FEATURES
from edupulse_ml.core.predictions import Reason
from edupulse_ml.core.sequences import Int32, SequenceBatch
from edupulse_ml.explain.attributions import RiskLogit
from edupulse_ml.explain.concepts import CONCEPTS, by_concept
from edupulse_ml.explain.verification import Candidate, verify, verify_together
from edupulse_ml.explain.wording import Fact, fact_denominator, sentence

MAX_REASONS: Final = 3
MAX_PROTECTIVE: Final = 1
_SPARE_CANDIDATES: Final = 2
"""Candidates beyond those shown, so that one that fails its verification can be replaced."""
_WEEKS_SPOKEN_OF: Final = 4
"""A sentence quotes the value of the scored week, most of them over four weeks: the member feature it quotes must have
pushed the score in these weeks."""
_MIN_EFFECT: Final = 0.02
"""Logits. A smaller effect changes no score by more than half a percent of itself."""

_log = structlog.get_logger(__name__)


class ExplainableModel(Protocol):
    """What a model must offer to be explained."""

    def typical_values(self, batch: SequenceBatch) -> NDArray[np.float32]:
        """[B, F] raw value of the typical student of the scored week; NaN where unknown."""
        ...

    def attributed(self, batch: SequenceBatch) -> "ExplainedBatch":
        """Integrated gradients of every example, and what verifies them."""
        ...


@dataclass(frozen=True)
class ExplainedBatch:
    """Attributions of B students before they are worded."""

    z: torch.Tensor
    """[B, T, F] 0 is the typical student of that grade band and week."""
    attribution: NDArray[np.float32]
    """[B, T, F] in logits, against the typical student; 0 at padding."""
    logit: RiskLogit
    """The logit of the risk score for rows of this batch; need not be differentiable."""


@dataclass(frozen=True)
class Explanation:
    """Why a student scores as they do. `timeline` [T] is the attribution of each week in logits, 0 where padding."""

    reasons: tuple[Reason, ...]
    protective_factors: tuple[Reason, ...]
    timeline: NDArray[np.float32]


@dataclass(frozen=True)
class _Worded:
    candidate: Candidate
    text: str


def explain_batch(
    model: ExplainableModel,
    batch: SequenceBatch,
    *,
    max_reasons: int = MAX_REASONS,
    max_protective: int = MAX_PROTECTIVE,
) -> list[Explanation]:
    """One explanation per example, in order.

    A reason is the largest signed attribution of a concept that can be worded and that occlusion confirms, by itself or
    together with the other reasons shown; fewer are returned where fewer hold.
    """
    explained = model.attributed(batch)
    attribution = explained.attribution
    effects = by_concept(attribution)
    candidates = _candidates(model, batch, attribution, effects, wanted=(max_reasons, max_protective))
    held = _held(explained.logit, explained.z, candidates)
    dropped = int(len(candidates) - held.sum())
    if dropped:
        _log.info("explanation_unverified", dropped=dropped, candidates=len(candidates))
    shown: list[tuple[list[Reason], list[Reason]]] = [([], []) for _ in range(batch.n_examples)]
    for worded, holds in zip(candidates, held, strict=True):
        if holds:
            raising, lowering = shown[worded.candidate.student]
            (raising if worded.candidate.effect > 0 else lowering).append(_reason(worded))
    timelines = attribution.sum(axis=2)
    return [
        Explanation(tuple(raising[:max_reasons]), tuple(lowering[:max_protective]), timelines[row])
        for row, (raising, lowering) in enumerate(shown)
    ]


def _held(risk_logit: RiskLogit, z_BTF: torch.Tensor, candidates: Sequence[_Worded]) -> NDArray[np.bool_]:
    """[len(candidates)] which may be shown: those that hold by themselves; where none of a student's reasons does, those
    of the right direction, if they hold together.
    """
    verdicts = verify(risk_logit, z_BTF, [worded.candidate for worded in candidates])
    held = verdicts.holds.copy()
    raising: dict[int, list[int]] = {}
    for position, worded in enumerate(candidates):
        if worded.candidate.effect > 0:
            raising.setdefault(worded.candidate.student, []).append(position)
    groups = []
    for positions in raising.values():
        right = [position for position in positions if verdicts.right_direction[position]]
        if len(right) > 1 and not held[positions].any():
            groups.append(right)
    together = verify_together(risk_logit, z_BTF, [[candidates[i].candidate for i in group] for group in groups])
    for group, holds in zip(groups, together, strict=True):
        held[group] = holds
    return held


def _reason(worded: _Worded) -> Reason:
    return Reason(CONCEPTS[worded.candidate.concept].name, worded.text, worded.candidate.effect)


def _candidates(
    model: ExplainableModel,
    batch: SequenceBatch,
    attribution: NDArray[np.float32],
    effects: NDArray[np.float32],
    *,
    wanted: tuple[int, int],
) -> list[_Worded]:
    """Worded candidates of all students, a student's largest effects first, raising ones before lowering ones."""
    last = batch.length - 1
    rows = np.arange(batch.n_examples)
    last = np.maximum(last, 0)
    values, support = batch.values[rows, last], batch.support[rows, last]
    typical, grade = model.typical_values(batch), batch.grade_level[rows, last]
    by_feature = _recent(attribution, batch.length).sum(axis=1)
    found: list[_Worded] = []
    for row in range(batch.n_examples):
        facts = _Facts(values[row], typical[row], support[row], by_feature[row], grade[row])
        for sign, limit in ((1, wanted[0]), (-1, wanted[1])):
            found.extend(_worded(row, effects[row], facts, sign=sign, limit=limit + _SPARE_CANDIDATES))
    return found


def _recent(attribution: NDArray[np.float32], length: Int32) -> NDArray[np.float32]:
    """The attribution of the weeks that a sentence can speak of, 0 elsewhere."""
    step = np.arange(attribution.shape[1])[None, :]
    recent = (step >= length[:, None] - _WEEKS_SPOKEN_OF) & (step < length[:, None])
    return attribution * recent[:, :, None]


@dataclass(frozen=True)
class _Facts:
    """One student's scored week: arrays [F], support [P]."""

    values: NDArray[np.float32]
    typical: NDArray[np.float32]
    support: NDArray[np.float32]
    attribution: NDArray[np.float32]
    grade: Int32


def _worded(row: int, effects: NDArray[np.float32], facts: _Facts, *, sign: int, limit: int) -> list[_Worded]:
    found: list[_Worded] = []
    for concept in np.argsort(-sign * effects, kind="stable"):
        effect = float(effects[concept])
        if sign * effect < _MIN_EFFECT or len(found) == limit:
            break
        text = _concept_sentence(int(concept), facts, sign=sign)
        if text is not None:
            found.append(_Worded(Candidate(row, int(concept), effect), text))
    return found


def _concept_sentence(concept: int, facts: _Facts, *, sign: int) -> str | None:
    """The sentence of the member feature that pushes hardest in the concept's direction and can be worded."""
    positions = CONCEPTS[concept].positions
    for position in positions[np.argsort(-sign * facts.attribution[positions], kind="stable")]:
        if sign * facts.attribution[position] <= 0:
            return None
        column = FEATURES[position]
        fact = Fact(
            column,
            float(facts.values[position]),
            float(facts.typical[position]),
            fact_denominator(column, facts.support.tolist()),
        )
        text = sentence(fact, raises_risk=sign > 0, grade_level=int(facts.grade))
        if text is not None:
            return text
    return None
