"""`edupulse replay`: compute stored predictions again, and say whether they are what was stored."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.errors import InvalidInputError, NotFoundError
from edupulse_ml.core.ids import PredictionId
from edupulse_ml.storage.stored_predictions import StoredPredictionReader
from jobs.replaying import Replayed, Replayer
from jobs.wiring import open_context

_NOT_ALL_SAME: Final = 1


def replay(
    prediction_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[PREDICTION_ID]...", help="Stored predictions.")
    ] = None,
    *,
    sample: Annotated[int, typer.Option(min=0, help="Also this many stored predictions, drawn at random.")] = 0,
    seed: Annotated[int, typer.Option(help="Which ones are drawn.")] = 0,
) -> None:
    """Compute stored predictions again from the model, its feature contract and the records as they were known.

    Ends with 1 where one differs or cannot be computed again.
    """
    asked = list(prediction_ids or [])
    console = Console()
    found = asyncio.run(replay_predictions(load_settings(), asked, sample=sample, seed=seed, clock=SystemClock()))
    if any(item.outcome != "same" for item in found):
        console.print(differing_table(found))
    console.print(summary(found))
    if any(item.outcome != "same" for item in found):
        raise typer.Exit(_NOT_ALL_SAME)


async def replay_predictions(
    settings: Settings, prediction_ids: Sequence[str], *, sample: int, seed: int, clock: Clock
) -> list[Replayed]:
    """What became of the predictions named, in their order, and of `sample` others drawn with `seed`.

    Raises:
        InvalidInputError: nothing was named, or an id is no UUID.
        NotFoundError: the district has no prediction of that id.
        DependencyDownError: a server does not answer.
    """
    ids = [_checked(text) for text in prediction_ids]
    if not ids and not sample:
        raise InvalidInputError("Nothing to replay: name predictions by their ids, or pass --sample N.")
    async with open_context(settings, clock=clock) as context:
        reader = StoredPredictionReader(context.database)
        ids = list(dict.fromkeys([*ids, *(await reader.sample(sample, seed=seed) if sample else ())]))
        stored = await reader.find(ids)
        missing = [asked for asked in ids if asked not in stored]
        if missing:
            raise NotFoundError(
                f"The district has no prediction {', '.join(missing)}: see `prediction_id` in the student's history."
            )
        return await Replayer(context).replay([stored[asked] for asked in ids])


def differing_table(found: Sequence[Replayed]) -> Table:
    """The predictions that are not what was stored, and what differs."""
    table = Table(title="Not the same")
    for name in ("prediction", "model", "outcome", "what"):
        table.add_column(name, overflow="fold")
    for item in found:
        if item.outcome != "same":
            prediction = item.prediction
            table.add_row(prediction.prediction_id, prediction.model_version, item.outcome, "\n".join(item.told))
    return table


def summary(found: Sequence[Replayed]) -> str:
    """One sentence."""
    counts = Counter(item.outcome for item in found)
    if not found:
        return "No prediction is stored yet."
    return (
        f"{counts['same']:,} of {len(found):,} predictions are the same when computed again, "
        f"{counts['differs']:,} differ, {counts['impossible']:,} cannot be computed again."
    )


def _checked(text: str) -> PredictionId:
    try:
        return PredictionId(str(UUID(text)))
    except ValueError as error:
        raise InvalidInputError(
            "A prediction id is a UUID, such as 0b5f8c1e-8a5e-4f3c-9d57-2f1c9d0a7b11: see the student's history."
        ) from error


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["replay", *sys.argv[1:]])
