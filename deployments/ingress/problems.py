"""Errors as `application/problem+json` (RFC 9457)."""

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from edupulse_ml.core.errors import DependencyDownError, EduPulseError, TooManyRequestsError, UnauthorizedError

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
INTERNAL_DETAIL: Final = "Something went wrong inside EduPulse; the request id finds it in the logs."
DEPENDENCY_RETRY_AFTER_S: Final = 5


class InvalidField(BaseModel):
    """Where the request is wrong, and why; never the value that was sent."""

    location: str = Field(examples=["body.student_ids"])
    message: str = Field(examples=["Field required"])


class Problem(BaseModel):
    """What went wrong (RFC 9457). `type` is stable and names the kind of error."""

    type: str = Field(examples=["urn:edupulse:problem:not-found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["This district has no student with the id asked for."])
    request_id: str | None = Field(default=None, description="Also in the header `X-Request-ID` and in the logs.")
    dependency: str | None = Field(default=None, description="The server that is missing.")
    missing: list[str] | None = Field(default=None, description="All servers that are missing.")
    errors: list[InvalidField] | None = None


def _slug(title: str) -> str:
    return f"urn:edupulse:problem:{title.lower().replace(' ', '-')}"


def problem_of(error: EduPulseError, *, request_id: str | None = None) -> Problem:
    """The problem that reports `error`; an internal error keeps its message to itself."""
    internal = error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, DependencyDownError)
    return Problem(
        type=_slug(error.title),
        title=error.title,
        status=error.http_status,
        detail=INTERNAL_DETAIL if internal else str(error),
        request_id=request_id,
        dependency=error.dependency if isinstance(error, DependencyDownError) else None,
    )


def problem_response(problem: Problem, *, headers: dict[str, str] | None = None) -> Response:
    """`problem` as a response."""
    return Response(
        content=problem.model_dump_json(exclude_none=True),
        status_code=problem.status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=headers,
    )


def error_headers(error: EduPulseError) -> dict[str, str]:
    """Headers that belong to an error: when to ask again, how to authenticate."""
    if isinstance(error, TooManyRequestsError):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    if isinstance(error, DependencyDownError):
        return {"Retry-After": str(DEPENDENCY_RETRY_AFTER_S)}
    if isinstance(error, UnauthorizedError):
        return {"WWW-Authenticate": 'Bearer realm="edupulse"'}
    return {}


def request_id_of(request: Request) -> str | None:
    """The id that the middleware gave to the request."""
    value: Any = request.scope.get("edupulse.request_id")
    return value if isinstance(value, str) else None


def _location(error: dict[str, Any]) -> str:
    parts: list[str] = [str(part) for part in error.get("loc", ())]
    if error.get("type") == "extra_forbidden" and parts:
        parts[-1] = "(unknown field)"  # the caller chose its name, which may be anything
    return ".".join(parts)


def invalid_fields(errors: Sequence[Any]) -> list[InvalidField]:
    """The places of validation errors, without the values."""
    return [InvalidField(location=_location(error), message=str(error.get("msg", "Invalid"))) for error in errors]


async def _on_validation(request: Request, error: Exception) -> Response:
    errors: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else ()
    return problem_response(
        Problem(
            type=_slug("Invalid input"),
            title="Invalid input",
            status=422,
            detail="The request is not valid; errors names each place.",
            request_id=request_id_of(request),
            errors=invalid_fields(errors),
        )
    )


async def _on_edupulse_error(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, EduPulseError) else EduPulseError(INTERNAL_DETAIL)
    return problem_response(problem_of(known, request_id=request_id_of(request)), headers=error_headers(known))


async def _on_http_error(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, HTTPException) else HTTPException(HTTPStatus.INTERNAL_SERVER_ERROR)
    return http_problem_response(known, request_id=request_id_of(request))


def http_problem_response(error: HTTPException, *, request_id: str | None) -> Response:
    """The framework's own kind of error as a problem."""
    status = HTTPStatus(error.status_code)
    problem = Problem(
        type=_slug(status.phrase),
        title=status.phrase,
        status=status,
        detail=f"{status.description or status.phrase}.",
        request_id=request_id,
    )
    return problem_response(problem, headers=dict(error.headers) if error.headers else None)


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem."""
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(EduPulseError, _on_edupulse_error)
    app.add_exception_handler(HTTPException, _on_http_error)
