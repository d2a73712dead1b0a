"""Problems of the API as exceptions of the same families."""

from collections.abc import Mapping
from typing import Any, Final

import httpx
from httpx import codes

from edupulse_ml.core.errors import (
    ConflictError,
    DependencyDownError,
    EduPulseError,
    InvalidInputError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)

DEFAULT_RETRY_AFTER_S = 1.0


class ServiceError(EduPulseError):
    """The service failed inside or did not answer in time, or answered with something that EduPulse does not say."""

    title = "Service error"


class ServiceUnreachableError(DependencyDownError):
    """No EduPulse service answers at the address."""

    title = "Service unreachable"


_FAMILIES: Final[Mapping[int, type[EduPulseError]]] = {
    UnauthorizedError.http_status: UnauthorizedError,
    NotFoundError.http_status: NotFoundError,
    ConflictError.http_status: ConflictError,
    codes.REQUEST_TIMEOUT: ServiceError,  # of Ray Serve's proxy: nothing was wrong with the request
}


def error_of(response: httpx.Response) -> EduPulseError:
    """The exception for an answer that is not 2xx; it carries the request id, with which operators find the logs."""
    problem = _problem(response)
    message = _message(problem, response)
    status = response.status_code
    if status in _FAMILIES:
        return _FAMILIES[status](message)
    if status == TooManyRequestsError.http_status:
        return TooManyRequestsError(message, retry_after_s=retry_after_s(response) or DEFAULT_RETRY_AFTER_S)
    if status == DependencyDownError.http_status:
        return DependencyDownError(message, dependency=str(problem.get("dependency") or "edupulse"))
    if 400 <= status < 500:
        return InvalidInputError(message)
    return ServiceError(message)


def retry_after_s(response: httpx.Response) -> float | None:
    """Seconds of the `Retry-After` header; None without one, or where it is a date."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else None


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        problem = response.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _message(problem: Mapping[str, Any], response: httpx.Response) -> str:
    if response.status_code == codes.REQUEST_TIMEOUT:
        return "The service did not answer in time: `GET /ready` names the server that hangs."
    if not problem:
        return (
            f"The service answered with status {response.status_code} and no explanation: is this EduPulse's address?"
        )
    places = "; ".join(f"{item['location']}: {item['message']}" for item in problem.get("errors") or ())
    request_id = problem.get("request_id")
    parts = [
        str(problem.get("detail", problem.get("title", ""))),
        places,
        f"(request {request_id})" if request_id else "",
    ]
    return " ".join(part for part in parts if part)
