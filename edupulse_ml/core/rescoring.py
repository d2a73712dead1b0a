"""Whether a prediction that was computed again is the one that was stored."""

from typing import Final

from edupulse_ml.core.predictions import Prediction, Reason

SCORE_TOLERANCE: Final = 1e-6
"""Largest difference of a probability between two computations of the same: float32 arithmetic in batches of other
sizes stays well below it, and no category or list shows it."""
EFFECT_TOLERANCE: Final = 1e-5
"""The same for the effect of a reason, in logits: a sum over many weeks and features."""


def differences(stored: Prediction, again: Prediction) -> tuple[str, ...]:
    """What differs, one sentence per field, with both values of scores; empty where both say the same.

    Reasons are compared where they were stored: concept, wording, order and effect.
    """
    plain = [
        f"{name}: {getattr(stored, name)} was stored, {getattr(again, name)} is computed"
        for name in ("category", "policy_version", "feature_week")
        if getattr(stored, name) != getattr(again, name)
    ]
    coverage = [] if stored.coverage == again.coverage else ["coverage: another one is computed"]
    reasons = _reasons("reasons", stored.reasons, again.reasons)
    protective = _reasons("protective factors", stored.protective_factors, again.protective_factors)
    return (*_scores(stored, again), *plain, *coverage, *reasons, *protective)


def is_same_score(stored: float, again: float) -> bool:
    """Whether two probabilities are the same but for rounding."""
    return abs(stored - again) <= SCORE_TOLERANCE


def _scores(stored: Prediction, again: Prediction) -> list[str]:
    pairs = {name: (getattr(stored, name), getattr(again, name)) for name in ("risk_score", "risk_60plus")}
    return [
        f"{name}: {before:.9f} was stored, {now:.9f} is computed"
        for name, (before, now) in pairs.items()
        if not is_same_score(before, now)
    ]


def _reasons(name: str, stored: tuple[Reason, ...] | None, again: tuple[Reason, ...] | None) -> list[str]:
    if stored is None:
        return []
    if again is None or [(r.concept, r.text) for r in stored] != [(r.concept, r.text) for r in again]:
        return [f"{name}: others are computed"]
    if any(abs(left.effect - right.effect) > EFFECT_TOLERANCE for left, right in zip(stored, again, strict=True)):
        return [f"{name}: with other effects"]
    return []
