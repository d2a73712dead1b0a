"""`edupulse gate-drill`: whether the policy would notice a bad model in this district, tried on copies spoiled on purpose."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import ConflictError, NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation.gate import Verdict, judge_candidate
from edupulse_ml.evaluation.gate_rules import RuleResult, bracket
from edupulse_ml.evaluation.promotion_policy import PromotionPolicy
from jobs.experiment import History
from jobs.history import load_history
from jobs.materialise import materialise_pending
from jobs.policies import PromotionPolicyOption, promotion_policy
from jobs.preflight import CheckOption, check_before, gate_check, model_check, serving_checks
from jobs.progress import progress_bars
from jobs.promotion.contenders import Contender, load_contender
from jobs.promotion.evidence import Step, gather_evidence
from jobs.promotion.spoiled import (
    RaisedGroup,
    as_it_is,
    most_even_group,
    scores_of_others,
    with_answers,
    with_reasons_of_others,
)
from jobs.wiring import open_context

SAME: Final = "the same model"


@dataclass(frozen=True)
class SpoiledCopy:
    """A copy of the model; the gate must refuse it for a rule whose name begins with `refused_for` (empty: it need not)."""

    name: str
    refused_for: str
    contender: Contender


@dataclass(frozen=True)
class DrillResult:
    """What the gate said of one copy: the rules it does not meet, but for those that the model itself is known not to meet."""

    copy: SpoiledCopy
    verdict: Verdict
    newly_failed: tuple[RuleResult, ...]

    @property
    def right(self) -> bool:
        """Whether the copy was refused for what is wrong with it."""
        wanted = self.copy.refused_for
        return not wanted or any(rule.name.startswith(wanted) for rule in self.newly_failed)

    @property
    def said(self) -> str:
        """What the gate did, and what is wrong with that."""
        if self.verdict.passed:
            return "passes" if self.right else "passes: must be refused"
        return "refused" if self.right else "refused, but not for what is wrong with it"


class GateLetsThroughError(ConflictError):
    """A copy that is bad on purpose would be promoted."""

    exit_code = 3
    title = "The gate lets bad models through"


def gate_drill(
    version: Annotated[
        str | None, typer.Argument(help="Registered version to spoil copies of; default: the champion.")
    ] = None,
    *,
    policy: PromotionPolicyOption = None,
    check: CheckOption = False,
) -> None:
    """Spoil copies of the champion on purpose, and see whether the written policy refuses each for what is wrong with it.

    Copies are made in memory: nothing is registered, decided or kept. Ends with exit code 3 where one would be promoted.
    """
    settings, console = load_settings(), Console()
    if check:
        check_before(settings, console, *serving_checks(), gate_check(policy), model_check(version))
        return
    wanted = ModelVersion(version) if version else None
    limits = promotion_policy(settings, option=policy)
    results = asyncio.run(drill_district(settings, wanted, policy=limits, clock=SystemClock(), console=console))
    show_drill(results, console)
    through = [result.copy.name for result in results if not result.right]
    if through:
        raise GateLetsThroughError(
            f"The policy does not refuse these copies for what is wrong with them: {', '.join(through)}. Where too few "
            "students left to tell, set `too_few_to_tell: refuse`; else make the limits of the rule narrower."
        )


async def drill_district(
    settings: Settings, version: ModelVersion | None, *, policy: PromotionPolicy, clock: Clock, console: Console
) -> tuple[DrillResult, ...]:
    """Spoil and judge copies of `version` (None: the champion) on the district's records as they are now.

    Raises:
        NotFoundError: there is no champion, or no such version.
        NotEnoughDataError: too little history.
    """
    async with open_context(settings, clock=clock) as context:
        await materialise_pending(context, as_of=clock.now(), console=console)
        with progress_bars(console) as bars:
            doing = bars.add_task("reading student-weeks", total=None)
            history = await load_history(context, as_of=clock.now(), on_share=lambda _: None)
            chosen = version or await asyncio.to_thread(context.registry.champion)
            if chosen is None:
                raise NotFoundError("There is no champion to spoil copies of: run `edupulse train` first.")
            original = load_contender(await asyncio.to_thread(context.registry.fetch, chosen))

            def step(name: str) -> None:
                bars.update(doing, description=name)

            return await asyncio.to_thread(drill, history, original, policy=policy, step=step)


def drill(history: History, original: Contender, *, policy: PromotionPolicy, step: Step) -> tuple[DrillResult, ...]:
    """Judge each copy beside the model itself as champion."""
    copies = spoiled_copies(history, original)
    found = [
        gather_evidence(history, copy.contender, original, policy=policy, step=_within(copy.name, step))
        for copy in copies
    ]
    # A rule that too few students can tell of is not one that the model itself fails, even where it counts as failed: a
    # copy that is refused by it is refused.
    lenient = policy.model_copy(update={"too_few_to_tell": "pass"})
    known = {rule.name for rule in judge_candidate(found[0], lenient).failed}
    verdicts = [judge_candidate(evidence, policy) for evidence in found]
    return tuple(
        DrillResult(copy, verdict, tuple(rule for rule in verdict.failed if rule.name not in known))
        for copy, verdict in zip(copies, verdicts, strict=True)
    )


def spoiled_copies(history: History, original: Contender) -> tuple[SpoiledCopy, ...]:
    """An unspoiled copy, then one for each way of being bad; none that is less fair where no group is large enough."""
    copies = [
        SpoiledCopy(SAME, "", as_it_is(original)),
        SpoiledCopy(
            "worse: everybody has another student's score",
            "not worse than the champion",
            with_answers(original, "worse", scores_of_others),
        ),
        SpoiledCopy(
            "unfaithful: everybody has another student's reasons", "faithfulness", with_reasons_of_others(original)
        ),
    ]
    group = most_even_group(history)
    if group is not None:
        attribute, value = group
        less_fair = with_answers(original, "less-fair", RaisedGroup.of(history, attribute, value))
        copies.append(SpoiledCopy(f"less fair: scores raised by {attribute}", "fairness", less_fair))
    return tuple(copies)


def show_drill(results: Sequence[DrillResult], console: Console) -> None:
    """Each copy with what the gate said, and the figures of the rules that it newly fails."""
    first = results[0].verdict
    table = Table(
        title=f"Copies of version {first.champion}, policy {first.policy_version}: {first.n_rows:,} student-weeks of "
        f"{first.n_students:,} students",
        title_justify="left",
    )
    for column in ("copy", "gate", "rules not met that the model itself is not known to fail"):
        table.add_column(column, overflow="fold")
    for result in results:
        table.add_row(result.copy.name, result.said, _listed(result.newly_failed))
    console.print(table)
    own = results[0].verdict.failed
    if own:
        console.print(f"The model itself does not meet: {_listed(own, divided_by=', ')}.", soft_wrap=True, markup=False)
    if not any(result.copy.refused_for == "fairness" for result in results):
        console.print("Fairness was not tried: no audit attribute has two groups of 200 students.")


def _within(copy: str, step: Step) -> Callable[[str], None]:
    return lambda name: step(f"{copy.split(':', maxsplit=1)[0]}: {name}")


def _listed(rules: Sequence[RuleResult], *, divided_by: str = "\n") -> str:
    return divided_by.join(f"{rule.name} {bracket(rule.figure)} (limit {rule.limit})" for rule in rules)


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["gate-drill", *sys.argv[1:]])
