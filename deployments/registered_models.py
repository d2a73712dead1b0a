"""The district's registered models and their cards, for people who must answer for them."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from deployments.time_limit import NoAnswerInTimeError
from edupulse_ml.core.errors import MODEL_REGISTRY, NotFoundError
from edupulse_ml.core.ids import ModelVersion

if TYPE_CHECKING:
    from edupulse_ml.registry.models import ModelDescription, ModelRegistry

_CARDS: Final = ("evaluation/model-card.html", "model-card.html")
_REPORTS: Final = ("evaluation/evaluation.json", "evaluation.json")
_INTERNAL_TAGS: Final = "mlflow."
"""Tags that MLflow sets itself: paths and user names of the machine that trained."""


@dataclass(frozen=True)
class RegisteredModel:
    """One version. `aliases` are those of champion, previous and challenger that point at it."""

    version: ModelVersion
    created_at: datetime
    aliases: tuple[str, ...]
    tags: dict[str, str]
    metrics: dict[str, float]


class RegisteredModels:
    """Reads the registry in a thread of its own, one question at a time; every method raises `NoAnswerInTimeError` where
    the answer takes longer than the caller waits.

    Args:
        open_registry: Called at first use; importing MLflow takes seconds.
        timeout_s: How long the caller waits for an answer, in seconds.
    """

    def __init__(self, open_registry: "Callable[[], ModelRegistry]", *, timeout_s: float) -> None:
        self._open = open_registry
        self._timeout_s = timeout_s
        self._registry: ModelRegistry | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry")

    async def list(self, *, limit: int) -> Sequence[RegisteredModel]:
        """The newest versions, newest first.

        Raises:
            DependencyDownError: the registry does not answer.
        """
        return await self._asked(lambda registry: _newest(registry, limit))

    async def describe(self, version: ModelVersion) -> RegisteredModel:
        """One version.

        Raises:
            NotFoundError: the district has no such version.
            DependencyDownError: the registry does not answer.
        """
        return await self._asked(lambda registry: _described(registry, version, _aliases(registry)))

    async def report(self, version: ModelVersion) -> dict[str, Any] | None:
        """The evaluation report that the model card shows; None where the version keeps none. Raises as `describe`."""
        text = await self._asked(lambda registry: _first_text(registry, version, _REPORTS))
        return None if text is None else json.loads(text)

    async def card(self, version: ModelVersion) -> str:
        """The model card, an HTML page.

        Raises:
            NotFoundError: no such version, or it was registered without a card.
            DependencyDownError: the registry does not answer.
        """
        page = await self._asked(lambda registry: _first_text(registry, version, _CARDS))
        if page is None:
            raise NotFoundError("This model was registered without a model card.")
        return page

    async def _asked(self, question: "Callable[[ModelRegistry], Any]") -> Any:
        answer = asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)
        try:
            return await asyncio.wait_for(answer, self._timeout_s)
        except TimeoutError as error:
            msg = f"The model registry did not answer within {self._timeout_s:g} seconds: ask again; the first look takes longest."
            raise NoAnswerInTimeError(msg, dependency=MODEL_REGISTRY) from error

    def _answer(self, question: "Callable[[ModelRegistry], Any]") -> Any:
        if self._registry is None:
            self._registry = self._open()
        return question(self._registry)


def _newest(registry: "ModelRegistry", limit: int) -> list[RegisteredModel]:
    aliases = _aliases(registry)
    return [_described(registry, version, aliases) for version in registry.versions()[:limit]]


def _aliases(registry: "ModelRegistry") -> dict[str, ModelVersion | None]:
    from edupulse_ml.registry.models import CHAMPION, PREVIOUS

    return {alias: registry.alias(alias) for alias in (CHAMPION, PREVIOUS, "challenger")}


def _described(
    registry: "ModelRegistry", version: ModelVersion, aliases: dict[str, ModelVersion | None]
) -> RegisteredModel:
    try:
        found: ModelDescription = registry.describe(version)
    except NotFoundError as error:
        # MLflow's words name its server and tables.
        raise NotFoundError("This district has no model of the version asked for.") from error
    return RegisteredModel(
        version=found.version,
        created_at=datetime.fromtimestamp(found.created_at_ms / 1000, tz=UTC),
        aliases=tuple(alias for alias, points_at in aliases.items() if points_at == version),
        tags={name: value for name, value in found.tags.items() if not name.startswith(_INTERNAL_TAGS)},
        metrics=dict(found.metrics),
    )


def _first_text(registry: "ModelRegistry", version: ModelVersion, paths: Sequence[str]) -> str | None:
    try:
        texts = (registry.read_text(version, path) for path in paths)
        return next((text for text in texts if text is not None), None)
    except NotFoundError as error:
        raise NotFoundError("This district has no model of the version asked for.") from error
