"""Models as Serve deployments: the one that answers, and the one beside it that wants to."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final

from ray import serve

from deployments.change_messages import FetchedChange, NoChange, ScoredChange
from deployments.components import Components
from deployments.in_hand import InHand
from deployments.memory_limit import bound_memory
from deployments.messages import FetchedWindows, HopFailure, ScoredStudents, ServedModel
from deployments.metrics import ModelMetrics
from deployments.model_slot import LiveModel, ModelSlot
from deployments.model_watch import no_model
from deployments.past_models import PastModels
from deployments.peers import Peers
from deployments.settings import AppArgs
from deployments.window_scoring import score_windows
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import MODEL_REGISTRY, ContractMismatchError, EduPulseError
from edupulse_ml.core.ids import ModelVersion

CHALLENGE_OVER_AFTER_S: Final = 10.0
"""Without a question for so long, nobody wants the challenger any more: gateways ask every second."""


STAY_AWAY_S: Final = 5.0
"""A replica that stays away looks for its model so often: it is wanted."""


class ModelMissingError(EduPulseError):
    """A replica has no model, and others have one."""

    title = "Model missing"


class ChallengerUnfitError(EduPulseError):
    """A forward of the challenger does not end, or its memory is used up."""

    title = "Challenger unfit"


class ModelReplica:
    """Scores many students per call; stays up, and says why, when it has no model.

    `user_config` is `{"model": "champion"}`, names another alias, or a version. An alias is looked up again every
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
        self._forward_since: float | None = None

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
                return await loop.run_in_executor(self._executor, lambda: self._forward(live, fetched, with_reasons))
        except ContractMismatchError as error:
            return HopFailure(str(error), None)

    async def contracts_of(self, versions: Sequence[ModelVersion]) -> tuple[FeatureContract, ...] | NoChange:
        """The feature contract of each registered version, loaded beside the live model."""
        return await self._past.contracts_of(versions, live=self._slot.live)

    async def explain_change(self, fetched: FetchedChange | NoChange) -> ScoredChange | NoChange:
        """The parts of a move; a failure of the hop before passes through."""
        if isinstance(fetched, NoChange):
            return fetched
        return await self._past.explain(fetched, live=self._slot.live)

    def _forward(self, live: LiveModel, fetched: FetchedWindows, with_reasons: Sequence[bool]) -> ScoredStudents:
        self._forward_since = monotonic()
        try:
            return score_windows(live, fetched, with_reasons=with_reasons)
        finally:
            self._forward_since = None

    async def served(self) -> ServedModel:
        """What this replica serves."""
        return self._slot.served()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Students in hand, which this hop is scaled by."""
        return self._in_hand.look()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._look()

    async def _look(self) -> None:
        await self._slot.refresh()


@serve.deployment(name="RiskModel")
class RiskModel(ModelReplica):
    """The champion. A replica without a model answers at once, so the router would prefer it to those that have one and
    take longer. It therefore does not stand beside them: a new one stays away until it has a model, also where it is to
    replace them, and one that runs without is replaced. Where no replica has a model, all stay up and say why.
    """

    def __init__(self, args: AppArgs, components: Components) -> None:
        super().__init__(args, components)
        config = components.config(args)
        self._registry = f"{config.mlflow_tracking_uri} {config.district}"
        self._peers = Peers(self._registry)
        self._in_the_way = False

    async def reconfigure(self, user_config: object) -> None:
        """As for any model. The first call, before which Serve sends no questions, returns with a model, or once no other
        replica has one.
        """
        begins = self._poll is None
        await super().reconfigure(user_config)
        if not begins:
            return
        while await self._should_stay_away():
            await asyncio.sleep(min(self._poll_s, STAY_AWAY_S))
            await self._slot.refresh()
        self._in_the_way = False

    def check_health(self) -> None:
        """Serve asks; raises where others have a model and this replica has none: the one that follows it stays away."""
        if self._in_the_way and self._slot.live is None:
            why = no_model(self._slot.served())
            msg = f"Other replicas serve a model and this one cannot: it is replaced. {why}"
            raise ModelMissingError(msg)

    async def has_model_of(self, registry: str) -> bool:
        """Asked by other replicas: whether this one serves a model of `registry`."""
        return self._slot.live is not None and registry == self._registry

    async def _look(self) -> None:
        await super()._look()
        self._in_the_way = await self._should_stay_away()

    async def _should_stay_away(self) -> bool:
        return self._slot.live is None and await self._peers.have_a_model()


@serve.deployment(name="ChallengerModel")
class ChallengerModel(ModelReplica):
    """The challenger, in a process of its own, whose memory is bounded. Has no replica while nobody asks for one.

    Whatever the model does, it is a value to the gateway: no exception crosses. A forward that does not end, or that
    uses up the memory, makes the replica unhealthy, and Serve replaces it.
    """

    def __init__(self, args: AppArgs, components: Components) -> None:
        super().__init__(args, components)
        self._hang_s = args.challenger_hang_s
        self._asked_at: float | None = None
        self._starved = False
        if args.challenger_memory_mib is not None:
            bound_memory(args.challenger_memory_mib)

    async def predict_many(
        self, fetched: FetchedWindows | HopFailure, with_reasons: Sequence[bool]
    ) -> ScoredStudents | HopFailure:
        """As the champion does; a model that raises is a failed hop."""
        try:
            return await super().predict_many(fetched, with_reasons)
        except Exception as error:  # noqa: BLE001 - the message of an unforeseen error may hold a student's data
            self._starved |= isinstance(error, MemoryError)
            return HopFailure(f"The challenger's model failed ({type(error).__name__}).", MODEL_REGISTRY)

    async def served(self) -> ServedModel:
        """What this replica serves; gateways ask for it again and again while there is a challenge."""
        self._asked_at = monotonic()
        return await super().served()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Students in hand; at least one while a gateway has asked lately, so that a quiet hour keeps the replica."""
        stats = await super().record_autoscaling_stats()
        asked = self._asked_at is not None and monotonic() - self._asked_at < CHALLENGE_OVER_AFTER_S
        return {name: max(students, float(asked)) for name, students in stats.items()}

    def check_health(self) -> None:
        """Serve asks; raises where a forward has not ended for `challenger_hang_s` seconds, or ran out of memory."""
        since = self._forward_since
        if since is not None and monotonic() - since > self._hang_s:
            msg = f"A forward of the challenger has not ended for {self._hang_s:g} seconds: the replica is replaced."
            raise ChallengerUnfitError(msg)
        if self._starved:
            raise ChallengerUnfitError("The challenger has used up its memory: the replica is replaced.")
