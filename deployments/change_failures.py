"""What a hop answers where it cannot explain what moved a score."""

import logging
from typing import Final

from deployments.change_messages import ChangeFailed, ChangeRefused, NoChange
from deployments.messages import HopFailure
from edupulse_ml.core.errors import (
    ConflictError,
    ContractMismatchError,
    DependencyDownError,
    EduPulseError,
    NotEnoughDataError,
    NotFoundError,
)

_log: Final = logging.getLogger("ray.serve")


def no_change(error: Exception) -> NoChange:
    """The answer for `error`: a missing server is named, and a move that cannot be explained is refused with its reason.
    Everything else is a fault of ours, of which only the log tells.
    """
    if isinstance(error, DependencyDownError):
        return HopFailure(str(error), error.dependency)
    if isinstance(error, ContractMismatchError):
        return ChangeRefused(
            "A model version that made one of the predictions was trained for the features of another release, so what it "
            "would say of other records is not known."
        )
    if isinstance(error, NotFoundError | ConflictError | NotEnoughDataError):
        return ChangeRefused(str(error))
    # The message of an unforeseen error may hold a student's data; those of our own errors never do.
    reason = f": {error}" if isinstance(error, EduPulseError) else ""
    _log.error("a move of a score cannot be explained (%s)%s", type(error).__name__, reason)
    return ChangeFailed()
