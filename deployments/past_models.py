"""Registered models that answered before, loaded beside the live one and on a thread of their own."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from deployments.change_failures import no_change
from deployments.change_messages import ChangeRefused, ChangeUnknownError, FetchedChange, NoChange, ScoredChange
from deployments.messages import HopFailure
from deployments.model_slot import LiveModel, LoadedModel, ModelSource
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import EduPulseError, NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.explain.changes import ScoreWindows, explain_change

HELD: Final = 2
"""Models kept in memory: a district asks about the last champion and the one before."""

MOST_UNDER_WAY: Final = 4
"""Questions that are answered or wait at once. One takes a second where its model must be loaded, and each holds one of
the replica's places for requests, which predictions need.
"""

T = TypeVar("T")


class PastModels:
    """The last few versions that were asked for. Belongs to one event loop; the live model never waits for it.

    Args:
        source: Where models come from.
        held: How many are kept.
    """

    def __init__(self, source: ModelSource, *, held: int = HELD) -> None:
        self._source = source
        self._held = held
        self._models: OrderedDict[ModelVersion, LoadedModel] = OrderedDict()
        # One thread: it loads and scores one model after the other, and shares nothing with the live one's thread.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="past-models")
        self._under_way = 0

    async def contracts_of(
        self, versions: Sequence[ModelVersion], *, live: LiveModel | None
    ) -> tuple[FeatureContract, ...] | NoChange:
        """The contract of each version, or why one cannot be loaded; a failure where too many questions are under way."""
        return await self._run(lambda: tuple(self._model(version, live).contract for version in versions))

    async def explain(self, fetched: FetchedChange, *, live: LiveModel | None) -> ScoredChange | NoChange:
        """The parts of a move: one forward per model; else as `contracts_of`."""
        return await self._run(lambda: self._explained(fetched, live))

    async def _run(self, work: Callable[[], T]) -> T | NoChange:
        if self._under_way >= MOST_UNDER_WAY:
            msg = "As many moves of scores are being explained as may be at once: ask again in a few seconds."
            return HopFailure(msg, "ray serve")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except NotFoundError:
            return ChangeRefused(
                "A model version that made one of the predictions is no longer in the registry, so what it would say "
                "of other records is not known."
            )
        except Exception as error:  # noqa: BLE001 - a hop answers with a value whatever goes wrong
            return no_change(error)
        finally:
            self._under_way -= 1

    def _explained(self, fetched: FetchedChange, live: LiveModel | None) -> ScoredChange:
        old = self._model(fetched.before.version, live)
        is_new = fetched.after.version != fetched.before.version
        new = self._model(fetched.after.version, live) if is_new else None
        change = explain_change(
            fetched.windows,
            score=_risk_of(old),
            new_model=_risk_of(new) if new is not None else None,
            new_window=fetched.new_window,
        )
        return ScoredChange(change)

    def _model(self, version: ModelVersion, live: LiveModel | None) -> LoadedModel:
        """The version, out of the live slot where it is the one served. Only the executor's thread comes here."""
        if live is not None and live.version == version:
            return live.model
        if version not in self._models:
            self._models[version] = self._loaded(version)
        self._models.move_to_end(version)
        while len(self._models) > self._held:
            self._models.popitem(last=False)
        return self._models[version]

    def _loaded(self, version: ModelVersion) -> LoadedModel:
        files = self._source.fetch(version)
        try:
            return self._source.load(files)
        except EduPulseError:
            raise
        except Exception as error:
            msg = f"Model version {version} could not be loaded ({type(error).__name__}): its files are not whole."
            raise ChangeUnknownError(msg) from error


def _risk_of(model: LoadedModel) -> ScoreWindows:
    return lambda batch: model.score(batch).risk_score
