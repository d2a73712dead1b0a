"""What a benchmark is made of: cases, contenders that run by turns, and the figures of each round."""

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

WARM_UP_ROUNDS: Final = 1

Figures = Mapping[str, float]
"""Figures of one round by their name, which carries the unit."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work of a case. `run` does it once and measures itself."""

    name: str
    run: Callable[[], Figures]


@dataclass(frozen=True)
class Case:
    """The same work done by all contenders; the first one is ours.

    Args:
        title: What is done, and on how much.
        contenders: By turns in this order.
        headline: The figure that contenders are compared by.
        lower_is_better: Whether the headline is a duration or a cost.
        unit: What `headline` is, in a word, for the ratio's column.
        notes: What a reader must know to judge the comparison.
        warm_up: Whether each contender runs once unmeasured first. Cold starts must not.
    """

    title: str
    contenders: Sequence[Contender]
    headline: str
    lower_is_better: bool = False
    notes: Sequence[str] = ()
    warm_up: bool = True


@dataclass(frozen=True)
class ContenderResult:
    """Every measured round of one contender."""

    name: str
    rounds: Sequence[Figures]

    def median(self, figure: str) -> float | None:
        """Median over the rounds; None where the contender does not have the figure."""
        values = [row[figure] for row in self.rounds if figure in row]
        return statistics.median(values) if values else None

    def extent(self, figure: str) -> tuple[float, float] | None:
        """Least and greatest value over the rounds."""
        values = [row[figure] for row in self.rounds if figure in row]
        return (min(values), max(values)) if values else None


@dataclass(frozen=True)
class CaseResult:
    """All rounds of all contenders of one case."""

    title: str
    headline: str
    lower_is_better: bool
    contenders: Sequence[ContenderResult]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def figures(self) -> list[str]:
        """Names of all figures, the headline first, in the order in which they were first seen."""
        names = [name for contender in self.contenders for row in contender.rounds for name in row]
        return list(dict.fromkeys([self.headline, *names]))

    def ratio(self, contender: ContenderResult) -> float | None:
        """How many times better ours is than `contender`, by the headline's median; 1 for ours itself."""
        ours, theirs = self.contenders[0].median(self.headline), contender.median(self.headline)
        if not ours or not theirs:
            return None
        return theirs / ours if self.lower_is_better else ours / theirs


def run_case(case: Case, *, rounds: int, on_round: Callable[[str], None] = lambda _: None) -> CaseResult:
    """Warm every contender up, then let them run by turns (A B A B ...), `rounds` times each."""
    measured: dict[str, list[Figures]] = {contender.name: [] for contender in case.contenders}
    for turn in range(-WARM_UP_ROUNDS if case.warm_up else 0, rounds):
        for contender in case.contenders:
            stage = "warm-up" if turn < 0 else f"round {turn + 1} of {rounds}"
            on_round(f"{case.title}: {contender.name}, {stage}")
            gc.collect()
            figures = dict(contender.run())
            if turn >= 0:
                measured[contender.name].append(figures)
    results = tuple(ContenderResult(name, tuple(rows)) for name, rows in measured.items())
    return CaseResult(case.title, case.headline, case.lower_is_better, results, tuple(case.notes))
