"""The risk model as a Serve deployment."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ray import serve

from deployments.change_messages import ChangeRefused, FetchedChange, ScoredChange
from deployments.components import Components
from deployments.in_hand import InHand
from deployments.messages import MODEL_REGISTRY, FetchedWindows, HopFailure, ScoredStudents, ServedModel
from deployments.metrics import ModelMetrics
from deployments.model_slot import ModelSlot
from deployments.model_watch import no_model
from deployments.past_models import PastModels
from deployments.settings import AppArgs
from deployments.window_scoring import score_windows
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import ContractMismatchError
from edupulse_ml.core.ids import ModelVersion


@serve.deployment(name="RiskModel")
class RiskModel:
    """Scores many students per call; stays up, and says why, when it has no model.

    `user_config` is `{"model": "champion"}` or names a version. The champion is looked up again every
    `model_poll_s` seconds, so a promotion needs no deployment.
    """

    def __init__(self, args: AppArgs, components: Components) -> None:
        components.configure_logs()
        config = components.config(args)
        self._poll_s = args.model_poll_s
        source = components.model_source(config)
        self._past = PastModels(source)
        self._slot = ModelSlot(
            source,
            contract=config.contract,
            clock=components.clock(),
            metrics=ModelMetrics(),
        )
        # One thread: the forward is one big operation, and the event loop keeps answering meanwhile.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._poll: asyncio.Task[None] | None = None
        self._in_hand = InHand()

    async def reconfigure(self, user_config: object) -> None:
        """Serve the model that `user_config` names, if it can be served; never raises."""
        await self._slot.aim_config(user_config)
        if self._poll is None:
            self._poll = asyncio.create_task(self._keep_looking())

    async def predict_many(
        self, fetched: FetchedWindows | HopFailure, with_reasons: Sequence[bool]
    ) -> ScoredStudents | HopFailure:
        """Scores of the found students; a failure of the hop before passes through."""
        if isinstance(fetched, HopFailure):
            return fetched
        live = self._slot.live
        if live is None:
            return HopFailure(str(no_model(self._slot.served())), MODEL_REGISTRY)
        loop = asyncio.get_running_loop()
        try:
            with self._in_hand.hold(fetched.batch.n_examples):
                return await loop.run_in_executor(
                    self._executor, lambda: score_windows(live, fetched, with_reasons=with_reasons)
                )
        except ContractMismatchError as error:
            return HopFailure(str(error), None)

    async def contracts_of(
        self, versions: Sequence[ModelVersion]
    ) -> tuple[FeatureContract, ...] | ChangeRefused | HopFailure:
        """The feature contract of each registered version, loaded beside the live model."""
        return await self._past.contracts_of(versions, live=self._slot.live)

    async def explain_change(
        self, fetched: FetchedChange | ChangeRefused | HopFailure
    ) -> ScoredChange | ChangeRefused | HopFailure:
        """The parts of a move; a failure of the hop before passes through."""
        if isinstance(fetched, HopFailure | ChangeRefused):
            return fetched
        return await self._past.explain(fetched, live=self._slot.live)

    async def served(self) -> ServedModel:
        """What this replica serves."""
        return self._slot.served()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Students in hand, which this hop is scaled by."""
        return self._in_hand.look()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._slot.refresh()
