"""What a user would write instead of a Ray Serve graph: a FastAPI app in two uvicorn workers, all in one process each.

It does the same work with the same parts: routes, validation, token check, cache, store, model, prediction and audit
rows. What it lacks is what Ray Serve gives: hops that scale apart, replicas on other nodes, exchange of models. With
`PLAIN_JOINED=0` each request is worked on by itself; else concurrent requests share statements and forwards.
"""

import asyncio
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.change_messages import ExplainedChange
from deployments.coalescer import BatchLimits
from deployments.components import StandardComponents, Stores
from deployments.ingress.api import create_api
from deployments.ingress.services import MissingDependency, Services
from deployments.messages import FetchRequest, ScoredStudents, ServedModel
from deployments.model_slot import CHAMPION, LiveModel
from deployments.moments import DistrictZone
from deployments.registered_models import RegisteredModels
from deployments.scoring import ScoringOptions, ScoringService
from deployments.settings import AppArgs, training_placement
from deployments.training_runs import TrainingRuns
from deployments.window_scoring import score_windows
from deployments.windows import WindowFetcher, WindowSources
from edupulse_ml.core.ids import PredictionId, StudentId
from edupulse_ml.core.sufficiency import SufficiencyPolicy

JOINED: Final = BatchLimits()
"""As the Serve graph joins requests."""
ALONE: Final = BatchLimits(max_batch_size=1, wait_s=0.0, max_concurrent=64)
"""Each request by itself; one that asks for many students is one piece of work here too."""
_ARGS: Final = AppArgs(database_connections=8)


class InProcessPipeline:
    """Fetches and scores in this process; the forward runs in a thread beside the event loop."""

    def __init__(self, fetcher: WindowFetcher, live: LiveModel) -> None:
        self._fetcher = fetcher
        self._live = live
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    async def score(self, request: FetchRequest, *, with_reasons: Sequence[bool]) -> ScoredStudents:
        fetched = await self._fetcher.fetch_many(request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._executor, lambda: score_windows(self._live, fetched, with_reasons=with_reasons)
        )

    async def served(self) -> ServedModel:
        model = self._live.model
        return ServedModel(
            wanted=CHAMPION,
            version=self._live.version,
            policy_version=model.policy.version,
            contract_fingerprint=model.contract.fingerprint,
            loaded_at=self._live.loaded_at,
            swap_failure=None,
        )


class _Uncounted:
    """Metrics that nobody asks for in a benchmark."""

    def answered(self, answers: int, *, status: str, cached: bool) -> None: ...

    def batch_done(self, *, questions: int, seconds: float) -> None: ...

    def fetched(self, *, source: str, windows: int) -> None: ...

    async def exposition(self) -> str:
        return ""


class _NoChanges:
    async def changes(
        self, student_id: StudentId, *, since: PredictionId | None, actor: str, request_id: str
    ) -> ExplainedChange:
        raise NotImplementedError  # not part of what is compared


class _AlwaysReady:
    async def missing(self) -> Sequence[MissingDependency]:
        return ()


class PlainApp:
    """The ASGI application; opens its stores and loads the champion when the server starts."""

    def __init__(self, *, batches: BatchLimits) -> None:
        self._batches = batches
        self._api: ASGIApp | None = None
        self._stores: Stores | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._api is not None:
            await self._api(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._api = await self._open()
        except Exception as error:  # noqa: BLE001 - the server ends, and says why
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._stores is not None:
            await self._stores.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> ASGIApp:
        parts = StandardComponents()
        config, clock = parts.config(_ARGS), parts.clock()
        self._stores = stores = await parts.open_stores(config, clock)
        zone, uncounted = DistrictZone(stores.reader), _Uncounted()
        fetcher = WindowFetcher(
            WindowSources(
                reader=stores.reader,
                store=stores.features,
                cache=stores.cache,
                compute=parts.compute_features(config),
                zone=zone,
            ),
            contract=config.contract,
            policy=SufficiencyPolicy(),
            cache_ttl_s=config.cache_ttl_s,
            metrics=uncounted,
        )
        source = parts.model_source(config)
        files = await asyncio.to_thread(source.fetch, CHAMPION)
        model = await asyncio.to_thread(source.load, files)
        scoring = ScoringService(
            pipeline=InProcessPipeline(fetcher, LiveModel(files.version, model, clock.now())),
            store=stores.predictions,
            cache=stores.cache,
            zone=zone,
            clock=clock,
            new_id=lambda: PredictionId(str(uuid.uuid4())),
            metrics=uncounted,
            options=ScoringOptions(cache_ttl_s=config.cache_ttl_s, batches=self._batches),
        )
        return create_api(
            Services(
                scoring=scoring,
                changes=_NoChanges(),
                readiness=_AlwaysReady(),
                metrics=uncounted,
                feedback=stores.feedback,
                training=TrainingRuns(
                    runs=stores.training,
                    server=parts.job_server(config),
                    clock=clock,
                    new_id=uuid.uuid4,
                    placement=training_placement(config),
                ),
                models=RegisteredModels(lambda: parts.registry(config), timeout_s=_ARGS.answer_timeout_s),
                token_sha256=parts.token_sha256(_ARGS),
                version=version("edupulse"),
            )
        )


def create() -> PlainApp:
    """The application, as uvicorn's `--factory` makes it."""
    return PlainApp(batches=ALONE if os.environ.get("PLAIN_JOINED") == "0" else JOINED)
