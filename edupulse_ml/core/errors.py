"""Error families. Each has an HTTP status and an exit code; leaf errors live beside what raises them."""

from typing import ClassVar, Final

MODEL_REGISTRY: Final = "model registry"
"""Name under which a registry that does not answer is reported, and a model that is missing."""


class EduPulseError(Exception):
    """Base of every error that EduPulse raises on purpose.

    The message is a full sentence for the person who can mend it: what is wrong, where, and what to do.
    It never holds a value from a student's record.
    """

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70
    title: ClassVar[str] = "Internal error"


class InvalidInputError(EduPulseError):
    """The caller sent something that cannot be used."""

    http_status = 422
    exit_code = 2
    title = "Invalid input"


class NotFoundError(EduPulseError):
    """What was asked for does not exist, or is not visible to this district."""

    http_status = 404
    exit_code = 4
    title = "Not found"


class ConflictError(EduPulseError):
    """The request contradicts what is already stored or running."""

    http_status = 409
    exit_code = 5
    title = "Conflict"


class UnauthorizedError(EduPulseError):
    """No bearer token was given, or not the right one."""

    http_status = 401
    exit_code = 77
    title = "Unauthorized"


class TooManyRequestsError(EduPulseError):
    """The service has as much work as it can finish in time; ask again after `retry_after_s`."""

    http_status = 429
    exit_code = 75
    title = "Too many requests"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DependencyDownError(EduPulseError):
    """A server that EduPulse needs does not answer; `dependency` names it."""

    http_status = 503
    exit_code = 69
    title = "Dependency unavailable"

    def __init__(self, message: str, *, dependency: str) -> None:
        super().__init__(message)
        self.dependency = dependency


class ContractMismatchError(EduPulseError):
    """Features and model were built for different contracts; scoring would be meaningless."""

    exit_code = 65
    title = "Feature contract mismatch"


class NotEnoughDataError(EduPulseError):
    """There is too little data to train or to score honestly."""

    http_status = 409
    exit_code = 66
    title = "Not enough data"
