"""The two hops behind the gateway, called through Serve handles: one chained call per batch."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from deployments.change_messages import ChangeRequest, NoChange, ScoredChange
from deployments.messages import FetchRequest, HopFailure, ScoredStudents, ServedModel
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import DependencyDownError, EduPulseError, TooManyRequestsError
from edupulse_ml.core.ids import ModelVersion

BUSY_RETRY_AFTER_S = 1.0
_Response: TypeAlias = DeploymentResponse[Any] | DeploymentResponseGenerator[Any]
_SERVE_ERRORS = (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    RayActorError,
    TaskCancelledError,
)
_LOST = (ReplicaUnavailableError, RayActorError)


class ReplicaLostError(DependencyDownError):
    """A replica died, or its node, with a call under way."""


class HandlePipeline:
    """Feature fetcher and risk model behind their deployment handles.

    The fetcher's answer goes to the model as a reference, so the gateway never carries the arrays.
    """

    def __init__(self, *, fetcher: DeploymentHandle[Any], model: DeploymentHandle[Any]) -> None:
        self._fetcher = _with_pickle(fetcher)
        self._model = _with_pickle(model)

    async def score(self, request: FetchRequest, *, with_reasons: Sequence[bool]) -> ScoredStudents:
        """Scores of the request's students. Where a replica dies over it, another one is asked: the hops only read.

        Raises:
            TooManyRequestsError: a hop's queue is full.
            DependencyDownError: a hop has no replica, or lacks a server or a model.
        """
        try:
            answer = await self._ask(request, with_reasons)
        except ReplicaLostError:
            answer = await self._ask(request, with_reasons)
        if isinstance(answer, HopFailure):
            raise answer.error()
        return answer

    async def _ask(self, request: FetchRequest, with_reasons: Sequence[bool]) -> ScoredStudents | HopFailure:
        fetched = self._fetcher.fetch_many.remote(request)
        return await _answer(self._model.predict_many.remote(fetched, tuple(with_reasons)), fetched)

    async def contracts_of(self, versions: Sequence[ModelVersion]) -> tuple[FeatureContract, ...]:
        """The feature contracts of registered versions; raises as `score` does, and `ChangeUnknownError` where a version
        cannot be loaded any more.
        """
        return _whole(await _answer(self._model.contracts_of.remote(tuple(versions))))

    async def explain_change(self, request: ChangeRequest) -> ScoredChange:
        """The parts of a move; raises as `contracts_of` does."""
        fetched = self._fetcher.fetch_change.remote(request)
        return _whole(await _answer(self._model.explain_change.remote(fetched), fetched))

    async def served(self) -> ServedModel:
        """What one replica of the risk model serves; raises as `score` does."""
        return await _answer(self._model.served.remote())

    async def ping_fetcher(self) -> None:
        """Return if a replica of the feature fetcher reads the district's row; raises as `score` does."""
        failure = await _answer(self._fetcher.ping.remote())
        if isinstance(failure, HopFailure):
            raise failure.error()


def _whole(answer: Any) -> Any:
    if isinstance(answer, NoChange):
        raise answer.error()
    return answer


def _with_pickle(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    # Messages are dataclasses of an installed package: plain pickle takes a third of cloudpickle's time. It holds where
    # the hops talk gRPC, which is throughput mode; Ray's own calls serialise as they do.
    return handle.options(request_serialization="pickle", response_serialization="pickle")


async def _answer(response: _Response, *before: _Response) -> Any:
    """The answer; where nobody waits for it any more, the replicas are told so, also those of the hops `before`."""
    try:
        return await response
    except asyncio.CancelledError:
        for abandoned in (response, *before):
            abandoned.cancel()
        raise
    except _SERVE_ERRORS as error:
        raise translated(error) from error


def translated(error: Exception) -> EduPulseError:
    """Serve's errors as ours. Left alone, Serve would answer them itself, as plain text."""
    if isinstance(error, BackPressureError):
        msg = "The service has as much work as it can finish in time: ask again in a second."
        return TooManyRequestsError(msg, retry_after_s=error.retry_after_s or BUSY_RETRY_AFTER_S)
    msg = "No replica of the feature fetcher or the risk model answers: see the Ray dashboard for what became of them."
    lost = isinstance(error, _LOST)
    return ReplicaLostError(msg, dependency="ray serve") if lost else DependencyDownError(msg, dependency="ray serve")
