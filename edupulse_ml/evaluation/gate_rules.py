"""One rule's result, and how a figure stands in a sentence."""

from dataclasses import dataclass
from typing import Literal

from edupulse_ml.evaluation.report import Figure

Outcome = Literal["passed", "failed", "untold"]
"""`untold`: too few students, or nothing to measure; whether that passes is the policy's `too_few_to_tell`."""


@dataclass(frozen=True)
class RuleResult:
    """One rule of the policy. `limit` is the limit in writing; `sentence` is for whoever reads a refusal."""

    name: str
    figure: Figure
    limit: str
    outcome: Outcome
    sentence: str

    @property
    def passed(self) -> bool:
        """Whether the rule lets the candidate through."""
        return self.outcome != "failed"


def judged(name: str, figure: Figure, limit: str, outcome: Outcome, sentence: str) -> RuleResult:
    """A result whose sentence begins with a capital letter."""
    return RuleResult(name, figure, limit, outcome, sentence[:1].upper() + sentence[1:])


def bracket(figure: Figure, *, signed: bool = False) -> str:
    """`0.081 [0.060, 0.103]`; with `signed`, a plus for what is above zero."""
    form = "+.3f" if signed else ".3f"
    if figure.value is None:
        return figure.reason or "nothing to tell"
    if 0 < abs(figure.value) < 5e-4 and figure.low is None:
        return format(figure.value, ".1e")
    if figure.low is None or figure.high is None:
        return format(figure.value, form)
    return f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"
