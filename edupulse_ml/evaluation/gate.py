"""The verdict on a candidate: every rule of the policy with its figure, its limit and a sentence."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from pydantic import TypeAdapter

from edupulse_ml.evaluation.gate_evidence import (
    CalibrationFigures,
    FairnessGap,
    GateEvidence,
    ListComparison,
    Parity,
    RankingComparison,
)
from edupulse_ml.evaluation.gate_faithfulness import judge_faithfulness
from edupulse_ml.evaluation.gate_rules import Outcome, RuleResult, bracket, judged
from edupulse_ml.evaluation.promotion_policy import PromotionPolicy
from edupulse_ml.evaluation.report import Figure

__all__ = ["Outcome", "RuleResult", "Verdict", "judge_candidate"]

_TITLES: Final = {"average_precision": "average precision", "auc": "ROC-AUC"}


@dataclass(frozen=True)
class Verdict:
    """All rules in the order of the policy. `champion` None: there is none yet."""

    candidate: str
    champion: str | None
    policy_version: str
    n_rows: int
    n_students: int
    results: tuple[RuleResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[RuleResult, ...]:
        """The rules that refuse the candidate."""
        return tuple(result for result in self.results if not result.passed)

    def to_json(self) -> str:
        """The verdict as indented JSON."""
        return _ADAPTER.dump_json(self, indent=2).decode() + "\n"


_ADAPTER: Final = TypeAdapter(Verdict)


def judge_candidate(evidence: GateEvidence, policy: PromotionPolicy) -> Verdict:
    """Every rule of `policy` on `evidence`; the same evidence always gives the same verdict."""
    results = [
        *_champion_rules(evidence),
        *(_ranking(comparison, policy) for comparison in evidence.ranking),
        *(_list(comparison, policy) for comparison in evidence.lists),
        *(rule for figures in evidence.calibration for rule in _calibration(figures, policy)),
        *_fairness(evidence.fairness, policy),
        *judge_faithfulness(evidence.faithfulness, policy.faithfulness),
        _parity(evidence.parity, policy),
    ]
    return Verdict(
        candidate=evidence.candidate,
        champion=evidence.champion,
        policy_version=policy.version,
        n_rows=evidence.n_rows,
        n_students=evidence.n_students,
        results=tuple(_strictly(results, policy)),
    )


def _strictly(results: Iterable[RuleResult], policy: PromotionPolicy) -> list[RuleResult]:
    if policy.too_few_to_tell == "pass":
        return list(results)
    return [replace(result, outcome="failed") if result.outcome == "untold" else result for result in results]


def _champion_rules(evidence: GateEvidence) -> list[RuleResult]:
    if evidence.champion is None:
        return [RuleResult("champion", Figure(None), "-", "passed", "There is no champion yet to compare with.")]
    if evidence.champion_problem is not None:
        sentence = f"Champion {evidence.champion} could not be compared with: {evidence.champion_problem}"
        return [RuleResult("champion", Figure(None), "-", "failed", sentence)]
    return []


def _ranking(comparison: RankingComparison, policy: PromotionPolicy) -> RuleResult:
    limits = policy.ranking.champion if comparison.opponent == "champion" else policy.ranking.lightgbm
    rival = "the champion" if comparison.opponent == "champion" else "LightGBM"
    figure, name = comparison.difference, f"not worse than {rival}: {comparison.metric} of {comparison.task}"
    limit = f"low >= -{limits.possibly_worse_by:g}, high >= -{limits.surely_worse_by:g}"
    what = f"{_TITLES[comparison.metric]} of {comparison.task}"
    if figure.value is None or figure.low is None or figure.high is None:
        return judged(name, figure, limit, "untold", f"{what} beside {rival}: {figure.reason}.")
    fails = figure.high < -limits.surely_worse_by or figure.low < -limits.possibly_worse_by
    why = "it is surely worse" if figure.high < -limits.surely_worse_by else "it may be worse by too much"
    return judged(
        name,
        figure,
        limit,
        "failed" if fails else "passed",
        f"{what} is {comparison.candidate:.3f}, that of {rival} {comparison.other:.3f}: {bracket(figure, signed=True)}"
        + (f"; {why}." if fails else "."),
    )


def _list(comparison: ListComparison, policy: PromotionPolicy) -> RuleResult:
    figure, least = comparison.difference, policy.lists.advantage_above
    name = f"beats the ABC rule: top {100 * comparison.share:.0f} % by {comparison.task}"
    if figure.value is None or figure.low is None:
        return judged(name, figure, f"low > {least:g}", "untold", f"Lists by {comparison.task}: {figure.reason}.")
    return judged(
        name,
        figure,
        f"low > {least:g}",
        "passed" if figure.low > least else "failed",
        f"Of 100 students on a list of {100 * comparison.share:.0f} % by {comparison.task}, "
        f"{100 * (comparison.candidate or 0.0):.0f} left; of 100 that the ABC rule puts first, "
        f"{100 * (comparison.rule or 0.0):.0f}: {bracket(figure, signed=True)}.",
    )


def _calibration(figures: CalibrationFigures, policy: PromotionPolicy) -> list[RuleResult]:
    low, high = policy.calibration.slope
    slope = _within(figures.slope, low, high)
    results = [
        judged(
            f"calibration slope of {figures.task}",
            figures.slope,
            f"{low:g} to {high:g}",
            slope,
            _measured("Calibration slope", figures.task, figures.slope, slope),
        )
    ]
    limit = None if figures.base_rate is None else policy.calibration.ece_limit(figures.base_rate)
    outcome: Outcome = "untold" if limit is None else _within(figures.ece, 0.0, limit)
    told = "no limit at this base rate" if limit is None else f"<= {limit:g}"
    sentence = _measured("Calibration error (ECE)", figures.task, figures.ece, outcome)
    return [*results, judged(f"calibration error of {figures.task}", figures.ece, told, outcome, sentence)]


def _within(figure: Figure, low: float, high: float) -> Outcome:
    """Failed where the whole interval lies outside, untold where a part of it does."""
    if figure.value is None or figure.low is None or figure.high is None:
        return "untold"
    if figure.high < low or figure.low > high:
        return "failed"
    return "passed" if low <= figure.low and figure.high <= high else "untold"


def _measured(what: str, task: str, figure: Figure, outcome: Literal["passed", "failed", "untold"]) -> str:
    if figure.value is None:
        return f"{what} of {task}: {figure.reason}."
    return f"{what} of {task} is {bracket(figure)}" + ("; too few students to be sure." if outcome == "untold" else ".")


def _fairness(gaps: Iterable[FairnessGap], policy: PromotionPolicy) -> list[RuleResult]:
    limit = policy.fairness.gap_at_most
    results = [_gap(gap, limit) for gap in gaps]
    if results:
        return results
    sentence = "No audit attribute was imported, so nothing is known of how evenly the model errs."
    return [RuleResult("fairness", Figure(None), f"<= {limit:g}", "untold", sentence)]


def _gap(gap: FairnessGap, limit: float) -> RuleResult:
    name = f"fairness: {gap.error} by {gap.attribute}"
    figure = gap.gap
    if figure.value is None or figure.low is None or figure.high is None:
        return judged(
            name, figure, f"<= {limit:g}", "untold", f"{gap.error.capitalize()} by {gap.attribute}: {figure.reason}."
        )
    outcome: Outcome = "failed" if figure.low > limit else "passed" if figure.high <= limit else "untold"
    tail = "; too few to tell whether it is within the limit." if outcome == "untold" else "."
    sentence = (
        f"{gap.error.capitalize()} by {gap.attribute}: {gap.higher} exceeds {gap.lower} by {bracket(figure)}{tail}"
    )
    return judged(name, figure, f"<= {limit:g}", outcome, sentence)


def _parity(parity: Parity, policy: PromotionPolicy) -> RuleResult:
    limit = policy.parity.coarse_p99_at_most if parity.is_coarse else policy.parity.exact_at_most
    value = parity.p99 if parity.is_coarse else parity.largest
    kind = "99 of 100 risk scores differ by less than" if parity.is_coarse else "scores differ by at most"
    return judged(
        "parity of the served engine",
        Figure(value),
        f"<= {limit:g}",
        "passed" if value <= limit else "failed",
        f"Served by {parity.served} and by {parity.reference}, {kind} {value:.1e}.",
    )
