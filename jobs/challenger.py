"""`edupulse challenger`: name a version that challenges the champion, and the shares of students it is asked about."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.challenge import Challenge
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.storage.challenges import ChallengeSetting, PostgresChallengeStore
from jobs.challenge.setting import Weights, begin_challenge, end_challenge, weigh_challenge
from jobs.challenge.words import percent
from jobs.promotion.deciding import PromotionPlaces
from jobs.wiring import open_context

app = typer.Typer(help="A version beside the champion: in its shadow, or answering a share of the students.")
T = TypeVar("T")

_COMMAND = "edupulse challenger"
Shadow = Annotated[float | None, typer.Option(min=0, max=1, help="Share of students scored unheard.")]
Split = Annotated[float | None, typer.Option(min=0, max=1, help="Share of students whom the challenger answers.")]
Name = Annotated[str, typer.Option(help="Who decides; kept in the audit trail.")]


@app.command("set")
def set_challenger(
    version: Annotated[str, typer.Argument(help="Registered version.")],
    *,
    shadow: Shadow = None,
    split: Split = None,
    name: Name = _COMMAND,
) -> None:
    """Let a version challenge the champion. Without shares it is named only, and asked nothing."""
    weights = Weights(shadow, split)
    challenge = _run(lambda places: begin_challenge(places, ModelVersion(version), weights, by=name))
    Console().print(f"{_sentence(challenge)} Gateways follow within seconds; its first replica takes longer.")


@app.command("weights")
def set_weights(*, shadow: Shadow = None, split: Split = None, name: Name = _COMMAND) -> None:
    """Change the shares of the challenge that is on; a share that is not given stays."""
    challenge = _run(lambda places: weigh_challenge(places, Weights(shadow, split), by=name))
    Console().print(_sentence(challenge))


@app.command("clear")
def clear_challenger(*, name: Name = _COMMAND) -> None:
    """End the challenge: the champion answers everybody, and nothing is scored beside it."""
    challenge = _run(lambda places: end_challenge(places, by=name))
    Console().print(f"Version {challenge.version} challenges no longer. `edupulse compare` still shows what it did.")


@app.command("show")
def show_challenger() -> None:
    """Show the challenge that is on, or the last one."""
    setting = _run(lambda places: PostgresChallengeStore(places.database).latest())
    Console().print(_told(setting))


async def with_places(settings: Settings, work: Callable[[PromotionPlaces], Awaitable[T]], *, clock: Clock) -> T:
    """What `work` returns, done on the settings' district."""
    async with open_context(settings, clock=clock) as context:
        return await work(PromotionPlaces.of(context))


def _run(work: Callable[[PromotionPlaces], Awaitable[T]]) -> T:
    return asyncio.run(with_places(load_settings(), work, clock=SystemClock()))


def _sentence(challenge: Challenge) -> str:
    return (
        f"Version {challenge.version} challenges the champion: it scores {percent(challenge.shadow)} of the students "
        f"unheard and answers {percent(challenge.split)}."
    )


def _told(setting: ChallengeSetting | None) -> str:
    if setting is None:
        return "There has been no challenge yet."
    when = f"{setting.set_at:%Y-%m-%d %H:%M} UTC, by {setting.set_by}"
    if setting.is_over:
        return f"No version challenges the champion. The challenge of version {setting.challenge.version} ended {when}."
    return f"{_sentence(setting.challenge)} Set {when}."


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["challenger", *sys.argv[1:]])
