"""The Python client of the HTTP API: `EduPulse`, and `AsyncEduPulse` for asyncio."""

from edupulse_ml.client.async_client import AsyncEduPulse
from edupulse_ml.client.errors import ServiceError, ServiceUnreachableError
from edupulse_ml.client.protocol import RetryPolicy
from edupulse_ml.client.results import Answer, BatchAnswer, CurrentModel, FailedStudent, ScoredStudent
from edupulse_ml.client.sync_client import EduPulse
from edupulse_ml.client.training import ModelDetail, ModelSummary, RunStatus
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.core.feedback import FlagFeedback, InterventionFeedback, OutcomeFeedback

__all__ = [
    "Answer",
    "AsyncEduPulse",
    "BatchAnswer",
    "CurrentModel",
    "EduPulse",
    "FailedStudent",
    "FlagFeedback",
    "InterventionFeedback",
    "ModelDetail",
    "ModelSummary",
    "OutcomeFeedback",
    "RetryPolicy",
    "RunStatus",
    "ScoredStudent",
    "ServiceError",
    "ServiceUnreachableError",
    "TrainingOrder",
]
