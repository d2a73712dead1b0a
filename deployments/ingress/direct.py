"""Answers valid predictions without the web framework's routing and dependencies, which cost a third of the gateway.

Only the straight path is here. Whatever is not a well-formed JSON prediction goes on to the framework with its body,
so that there is one place that words what is wrong with a request.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.prediction_answers import PredictionAnswers
from deployments.ingress.schemas import BATCH_PATH, PREDICT_PATH, BatchRequest, PredictRequest

Answering = Callable[[bytes, str], Awaitable[BaseModel]]
"""(body, request id) -> the answer; raises `ValidationError` for a body that is not valid."""
_JSON: Final = "application/json"


class DirectPredictions:
    """ASGI middleware inside `RequestGate`, which authorises, bounds the body and words the errors of `core.errors`.

    Args:
        app: The API.
        answers: What the routes of `app` answer with, too.
    """

    def __init__(self, app: ASGIApp, *, answers: PredictionAnswers) -> None:
        self._app = app

        async def one(body: bytes, request_id: str) -> BaseModel:
            return await answers.one(PredictRequest.model_validate_json(body), request_id=request_id)

        async def many(body: bytes, request_id: str) -> BaseModel:
            return await answers.many(BatchRequest.model_validate_json(body), request_id=request_id)

        self._answering: dict[str, Answering] = {PREDICT_PATH: one, BATCH_PATH: many}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answering = self._answering.get(scope["path"]) if scope["type"] == "http" else None
        if answering is None or scope["method"] != "POST" or Headers(scope=scope).get("content-type") != _JSON:
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return  # the caller went away
        try:
            answer = await answering(body, scope["edupulse.request_id"])
        except ValidationError:
            await self._app(scope, _replayed(body, receive), send)
            return
        content = answer.model_dump_json().encode()
        headers = [(b"content-type", _JSON.encode()), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


async def _body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` that gives the body once more, then what follows it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
