"""The live model of a replica, and its exchange for another one without a pause.

A candidate is fetched, checked against the feature contract and tried out beside the live model; only then does the
reference move. Whatever goes wrong, the live model stays.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from deployments.messages import ServedModel
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import DependencyDownError, EduPulseError, InvalidInputError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.predictions import CategoryPolicy, Reason
from edupulse_ml.core.sequences import SequenceBatch, empty_windows

CHAMPION: Final = "champion"


class Scores(Protocol):
    """Calibrated probabilities [B] and the weight of each week [B, T]."""

    @property
    def risk_score(self) -> NDArray[np.floating]: ...

    @property
    def risk_60plus(self) -> NDArray[np.floating]: ...

    @property
    def attention(self) -> NDArray[np.floating]: ...


class Explained(Protocol):
    """Reasons of one student."""

    @property
    def reasons(self) -> tuple[Reason, ...]: ...

    @property
    def protective_factors(self) -> tuple[Reason, ...]: ...


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to score. `explain` gives one entry per example."""

    contract: FeatureContract
    policy: CategoryPolicy
    score: Callable[[SequenceBatch], Scores]
    explain: Callable[[SequenceBatch], Sequence[Explained]]


@dataclass(frozen=True)
class ModelFiles:
    """A local copy of a registered model."""

    version: ModelVersion
    path: Path


class ModelSource(Protocol):
    """Where models come from; both calls block and run in a thread."""

    def fetch(self, wanted: str) -> ModelFiles:
        """The files of a version, or of the champion; raises `NotFoundError`, `DependencyDownError`."""
        ...

    def kept(self, wanted: str) -> ModelFiles | None:
        """The local copy of what was last fetched as `wanted`, without asking the registry; None without one."""
        ...

    def load(self, files: ModelFiles) -> LoadedModel: ...


class SwapMetrics(Protocol):
    """Counts exchanges (outcome `swapped` or `failed`) and shows what is in use."""

    def swap(self, *, outcome: str) -> None: ...

    def state(self, *, version: str | None, failed: bool) -> None: ...


class SelfTestError(EduPulseError):
    """A candidate model gave an answer that cannot be a probability."""

    title = "Model self-test failed"


@dataclass(frozen=True)
class LiveModel:
    """The model in use."""

    version: ModelVersion
    model: LoadedModel
    loaded_at: datetime


class ModelSlot:
    """Holds the live model.

    Args:
        source: Where candidates come from.
        contract: What the feature fetcher delivers; a model trained for another contract is refused.
        clock: Says when a model was loaded.
        metrics: Counters.
    """

    def __init__(self, source: ModelSource, *, contract: FeatureContract, clock: Clock, metrics: SwapMetrics) -> None:
        self._source = source
        self._contract = contract
        self._clock = clock
        self._metrics = metrics
        self._wanted = CHAMPION
        self._live: LiveModel | None = None
        self._failure: str | None = None
        self._lock = asyncio.Lock()

    @property
    def live(self) -> LiveModel | None:
        """The model in use, None before the first one could be loaded."""
        return self._live

    def served(self) -> ServedModel:
        """What is in use, and why that is not what was asked for, if so."""
        live = self._live
        return ServedModel(
            wanted=self._wanted,
            version=live.version if live else None,
            policy_version=live.model.policy.version if live else None,
            contract_fingerprint=live.model.contract.fingerprint if live else None,
            loaded_at=live.loaded_at if live else None,
            swap_failure=self._failure,
        )

    async def aim_config(self, user_config: object) -> None:
        """Aim for the `model` of a Serve `user_config`; never raises, because Serve would stop a healthy replica."""
        wanted = user_config.get("model") if isinstance(user_config, dict) else None
        if isinstance(wanted, str | int) and not isinstance(wanted, bool) and str(wanted):
            await self.aim(str(wanted))
            return
        self._fail(InvalidInputError('user_config must be {"model": "champion"} or name a version.'))

    async def aim(self, wanted: str) -> None:
        """Serve `wanted` (a version, or `champion`) from now on if it can be served; never raises. A replica that begins
        while the registry is down serves the local copy of what was last fetched as `wanted`, and says that it is down.
        """
        async with self._lock:
            self._wanted = wanted
            try:
                await self._swap(wanted)
            except Exception as error:  # noqa: BLE001 - a bad model must not take the live one down
                self._fail(error)

    async def refresh(self) -> None:
        """Look again for what is wanted: a moved champion, or a registry that is back. Never raises."""
        await self.aim(self._wanted)

    async def _swap(self, wanted: str) -> None:
        try:
            files = await asyncio.to_thread(self._source.fetch, wanted)
        except DependencyDownError:
            kept = await asyncio.to_thread(self._source.kept, wanted) if self._live is None else None
            if kept is not None:
                await self._serve(kept)
            raise
        await self._serve(files)
        self._failure = None
        self._metrics.state(version=files.version, failed=False)

    async def _serve(self, files: ModelFiles) -> None:
        if self._live is None or self._live.version != files.version:
            model = await asyncio.to_thread(self._tried, files)
            self._live = LiveModel(files.version, model, self._clock.now())
            self._metrics.swap(outcome="swapped")

    def _tried(self, files: ModelFiles) -> LoadedModel:
        model = self._source.load(files)
        self._contract.require_match(model.contract)
        self_test(model)
        return model

    def _fail(self, error: Exception) -> None:
        known = isinstance(error, EduPulseError)
        reason = str(error) if known else f"the model could not be loaded ({type(error).__name__})."
        if reason != self._failure:
            self._metrics.swap(outcome="failed")
        self._failure = reason
        self._metrics.state(version=self._live.version if self._live else None, failed=True)


def self_test(model: LoadedModel) -> None:
    """Score and explain a window without and one with records.

    Raises:
        SelfTestError: a score is not a probability, or an explanation is missing.
    """
    batch = _probe(model.contract.window_weeks)
    scores = model.score(batch)
    for name, values in (("risk_score", scores.risk_score), ("risk_60plus", scores.risk_60plus)):
        inside = np.isfinite(values) & (values >= 0) & (values <= 1)
        if values.shape != (batch.n_examples,) or not inside.all():
            msg = f"The candidate model's {name} is not one probability per student: it is not served."
            raise SelfTestError(msg)
    if scores.attention.shape != batch.week.shape or len(model.explain(batch)) != batch.n_examples:
        msg = "The candidate model does not weigh every week or explain every student: it is not served."
        raise SelfTestError(msg)


def _probe(window_weeks: int) -> SequenceBatch:
    """Two students of grade 9 with a full window: one with nothing recorded, one with zeros everywhere."""
    batch = empty_windows(2, window_weeks=window_weeks)
    batch.week[:] = 7 * np.arange(window_weeks, dtype=np.int32)[None, :] + 18_000
    batch.grade_level[:] = 9
    batch.aux[:] = 0.5
    for array in (batch.values, batch.support, batch.context):
        array[1] = 0.0
    batch.mask[1] = True
    return batch
