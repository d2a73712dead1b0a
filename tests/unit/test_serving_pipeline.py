"""A call whose replica dies is asked of another one, once; other failures are not repeated."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import BackPressureError

from deployments.messages import FetchRequest, HopFailure
from deployments.pipeline import HandlePipeline
from edupulse_ml.core.errors import DependencyDownError, EduPulseError, TooManyRequestsError
from edupulse_ml.core.ids import StudentId

REQUEST = FetchRequest((StudentId("S1"),), datetime(2026, 3, 2, tzinfo=UTC))


class Response:
    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    def cancel(self) -> None: ...

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class Handle:
    """Every method answers with the next outcome."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    def options(self, **_: object) -> "Handle":
        return self

    def __getattr__(self, _: str) -> "Handle":
        return self

    def remote(self, *_: object) -> Response:
        self.calls += 1
        return Response(self.outcomes.pop(0))


def score(*outcomes: object) -> tuple[object, int]:
    """What the gateway gets, and how often each hop was asked, given the risk model's outcomes."""
    fetcher: Any = Handle(*["fetched"] * len(outcomes))
    model: Any = Handle(*outcomes)
    pipeline = HandlePipeline(fetcher=fetcher, model=model)

    async def ask() -> object:
        try:
            return await pipeline.score(REQUEST, with_reasons=[False])
        except EduPulseError as error:
            return error

    result = asyncio.run(ask())
    assert fetcher.calls == model.calls
    return result, model.calls


def test_a_call_whose_replica_dies_is_asked_of_another_one() -> None:
    assert score(RayActorError(), "scored") == ("scored", 2)


def test_it_is_asked_once_more_and_not_for_ever() -> None:
    error, calls = score(RayActorError(), RayActorError(), "scored")
    assert isinstance(error, DependencyDownError)
    assert calls == 2


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (BackPressureError(5, 4, retry_after_s=1), TooManyRequestsError),
        (TaskCancelledError(), DependencyDownError),
        (HopFailure("PostgreSQL does not answer.", "postgresql"), DependencyDownError),
    ],
)
def test_other_failures_are_not_repeated(outcome: object, kind: type[EduPulseError]) -> None:
    error, calls = score(outcome, "scored")
    assert type(error) is kind
    assert calls == 1
