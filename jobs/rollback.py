"""`edupulse rollback`: return to the champion before, in one command."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.models.strategies.loading import load_strategy
from jobs.promotion.deciding import PromotionPlaces, roll_back
from jobs.wiring import open_context


def rollback(
    *,
    name: Annotated[str, typer.Option(help="Who decides; kept in the audit trail.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit trail and on the withdrawn version.")],
) -> None:
    """Make the previous champion the champion again. Serving follows without a restart."""
    withdrawn, champion = asyncio.run(return_to_previous(load_settings(), by=name, reason=reason, clock=SystemClock()))
    Console().print(f"Version {withdrawn} is withdrawn; version {champion} is the champion again.")


async def return_to_previous(
    settings: Settings, *, by: str, reason: str, clock: Clock
) -> tuple[ModelVersion, ModelVersion]:
    """(withdrawn version, champion now); see `promotion.deciding.roll_back`.

    Raises: see `promotion.deciding.roll_back`.
    """
    async with open_context(settings, clock=clock) as context:

        def require_servable(version: ModelVersion) -> None:
            context.contract.require_match(load_strategy(context.registry.fetch(version).path).contract)

        return await roll_back(PromotionPlaces.of(context), by=by, reason=reason, require_servable=require_servable)


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["rollback", *sys.argv[1:]])
