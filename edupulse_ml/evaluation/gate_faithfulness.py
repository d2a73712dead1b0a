"""The rules on faithfulness: seven figures against their limits (sources.md 5.3)."""

from typing import Final

from edupulse_ml.evaluation.faithfulness import Faithfulness
from edupulse_ml.evaluation.gate_rules import RuleResult, bracket, judged
from edupulse_ml.evaluation.promotion_policy import FaithfulnessPolicy
from edupulse_ml.evaluation.report import Figure

_CURVES: Final = "faithfulness F7: deletion curves"


def judge_faithfulness(measured: Faithfulness, policy: FaithfulnessPolicy) -> list[RuleResult]:
    """One result per test; F6 is two, F7 is reported and always passes."""
    return [
        _at_least("F1: deletion gain", measured.deletion_gain, policy.deletion_gain_at_least),
        _recency(measured, policy),
        _at_least("F3: polarity of shown reasons", measured.polarity, policy.polarity_at_least),
        _at_most("F4: completeness error", measured.completeness, policy.completeness_at_most),
        _at_most("F5: likeness to random weights", measured.sanity, policy.sanity_at_most),
        _at_least("F6: top concepts across seeds", measured.seed_overlap, policy.seed_overlap_at_least),
        _at_least("F6: top concepts under noise", measured.noise_overlap, policy.noise_overlap_at_least),
        _curves(measured),
    ]


def _recency(measured: Faithfulness, policy: FaithfulnessPolicy) -> RuleResult:
    """Where even an order by occlusion stays below the limit, the attributions must come close to that order instead."""
    attainable, limit = measured.recency_attainable.value, policy.recency_gain_at_least
    if attainable is not None and policy.recency_share_of_attainable * attainable < limit:
        limit = policy.recency_share_of_attainable * attainable
    return _at_least("F2: gain over recency", measured.recency_gain, round(limit, 3))


def _at_least(test: str, figure: Figure, limit: float) -> RuleResult:
    return _result(test, figure, f">= {limit:g}", passes=figure.value is not None and figure.value >= limit)


def _at_most(test: str, figure: Figure, limit: float) -> RuleResult:
    return _result(test, figure, f"<= {limit:g}", passes=figure.value is not None and figure.value <= limit)


def _result(test: str, figure: Figure, limit: str, *, passes: bool) -> RuleResult:
    name = f"faithfulness {test}"
    if figure.value is None:
        return judged(name, figure, limit, "untold", f"{name}: {figure.reason or 'not measured'}.")
    return judged(name, figure, limit, "passed" if passes else "failed", f"{name} is {bracket(figure)}.")


def _curves(measured: Faithfulness) -> RuleResult:
    curves = measured.curves
    if curves is None:
        return judged(_CURVES, Figure(None, reason="not measured"), "reported", "passed", f"{_CURVES}: not measured.")
    sentence = (
        f"{_CURVES}: the score moves by {curves.difference:.2f} logits with the largest attributions deleted first, by "
        f"{curves.preservation:.2f} with the smallest first, by {curves.chance:.2f} in random order."
    )
    return judged(_CURVES, Figure(curves.difference), "reported", "passed", sentence)
