"""`edupulse promote`: judge a candidate beside the champion on the same rows, and make it the champion if it passes."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import ModelVersion
from jobs.materialise import materialise_pending
from jobs.policies import PromotionPolicyOption, promotion_policy
from jobs.preflight import CheckOption, check_before, gate_check, model_check, serving_checks
from jobs.progress import progress_bars
from jobs.promotion.deciding import (
    Override,
    PromotionOutcome,
    PromotionPlaces,
    PromotionRequest,
    judging_anew,
    promote_if_better,
    refusal,
)
from jobs.promotion.showing import show_verdict
from jobs.wiring import open_context

_COMMAND = "edupulse promote"


def promote(
    version: Annotated[str | None, typer.Argument(help="Registered version; default: the newest.")] = None,
    *,
    policy: PromotionPolicyOption = None,
    override: Annotated[bool, typer.Option("--override", help="Promote even if the policy is not met.")] = False,
    name: Annotated[str | None, typer.Option(help="Who decides; needed for an override, and kept.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; needed for an override, and kept.")] = None,
    check: CheckOption = False,
) -> None:
    """Judge a registered version by the written policy, and make it the champion if it passes.

    Candidate and champion are measured anew on the same student-weeks. A refusal lists every rule that is not met and
    ends with exit code 3.
    """
    if override and not (name and reason):
        raise InvalidInputError("An override needs a name and a reason: --override --name NAME --reason WHY.")
    settings, console = load_settings(), Console()
    if check:
        check_before(settings, console, *serving_checks(), gate_check(policy), model_check(version, newest=True))
        return
    request = PromotionRequest(
        policy=promotion_policy(settings, option=policy),
        by=name or _COMMAND,
        version=ModelVersion(version) if version else None,
        override=Override(name or "", reason or "") if override else None,
    )
    outcome = asyncio.run(promote_version(settings, request, clock=SystemClock(), console=console))
    show_verdict(outcome.verdict, console)
    if not outcome.promoted:
        raise refusal(outcome.verdict)
    against = "" if outcome.kind == "promotion" else f", against {len(outcome.verdict.failed)} rules of the policy"
    console.print(f"Version {outcome.candidate} is the champion now{against}.")


async def promote_version(
    settings: Settings, request: PromotionRequest, *, clock: Clock, console: Console
) -> PromotionOutcome:
    """Judge and decide; see `promotion.deciding.promote_if_better`. Student-weeks that imports touched are materialised
    first.

    Raises:
        ConflictError: another promotion is under way, or the version is the champion already.
        NotFoundError: no such version.
        NotEnoughDataError: too little history.
    """
    async with open_context(settings, clock=clock) as context:
        await materialise_pending(context, as_of=clock.now(), console=console)
        with progress_bars(console) as bars:
            doing = bars.add_task("preparing", total=None)
            judge = judging_anew(context, request.policy, step=lambda name: bars.update(doing, description=name))
            outcome = await promote_if_better(PromotionPlaces.of(context), request, judge=judge)
            bars.update(doing, total=1, completed=1)
        return outcome


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["promote", *sys.argv[1:]])
