"""What happens to every request: an id, the bearer token, a bound on the body, and no traceback to the caller."""

import logging
import re
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.problems import (
    INTERNAL_DETAIL,
    Problem,
    error_headers,
    http_problem_response,
    problem_of,
    problem_response,
)
from edupulse_ml.core.errors import EduPulseError, UnauthorizedError
from edupulse_ml.security.tokens import token_matches

OPEN_PATHS: Final = frozenset({"/health", "/ready", "/docs", "/openapi.json"})
"""Routes that ask for no token; every other path does, also one that does not exist."""
REQUEST_ID_HEADER: Final = "x-request-id"
MAX_BODY_BYTES: Final = 256 * 1024
"""A batch of 100 ids of the greatest length fits, also where every character is escaped in 12 bytes."""

_SAFE_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_log: Final = logging.getLogger("ray.serve")


class BodyTooLargeError(EduPulseError):
    """The request's body is larger than any valid request."""

    http_status = 413
    exit_code = 2
    title = "Request too large"


class RequestGate:
    """ASGI middleware around the whole API.

    Args:
        app: The API.
        token_sha256: Hexadecimal SHA-256 of the bearer token.
    """

    def __init__(self, app: ASGIApp, *, token_sha256: str) -> None:
        self._app = app
        self._token_sha256 = token_sha256

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _SAFE_REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        scope["edupulse.request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            self._authorise(scope, headers)
            await self._app(scope, _bounded(receive, headers), send_with_id)
        except EduPulseError as error:
            response = problem_response(problem_of(error, request_id=request_id), headers=error_headers(error))
            await response(scope, receive, send_with_id)
        except HTTPException as error:
            await http_problem_response(error, request_id=request_id)(scope, receive, send_with_id)
        except Exception as error:
            # The message of an unforeseen error may hold a student's data, so only its kind is logged.
            _log.error("unhandled %s, request_id=%s, at %s", type(error).__name__, request_id, _place(error))
            if started:
                raise
            await problem_response(_internal(request_id))(scope, receive, send_with_id)

    def _authorise(self, scope: Scope, headers: Headers) -> None:
        if scope["path"] in OPEN_PATHS:
            return
        match = _BEARER.fullmatch(headers.get("authorization", ""))
        if match is None or not token_matches(match.group(1), self._token_sha256):
            msg = "A bearer token is needed: send `Authorization: Bearer <token>` with the token of `.edupulse/token`."
            raise UnauthorizedError(msg)


def _internal(request_id: str) -> Problem:
    return problem_of(EduPulseError(INTERNAL_DETAIL), request_id=request_id)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"


def _bounded(receive: Receive, headers: Headers) -> Receive:
    """`receive` that refuses a body of more than `MAX_BODY_BYTES`, told by its header or by counting."""
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise BodyTooLargeError(f"The body has {length} bytes, at most {MAX_BODY_BYTES} are read.")
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY_BYTES:
            raise HTTPException(BodyTooLargeError.http_status)  # the one kind that FastAPI lets through here
        return message

    return counted
