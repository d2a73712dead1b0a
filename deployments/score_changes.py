"""What changed since the last prediction, as the HTTP layer sees it: two stored predictions, the parts between them."""

from collections.abc import Sequence
from typing import Final, Protocol

from deployments.change_messages import (
    AskedModel,
    ChangeRequest,
    ChangeUnknownError,
    ExplainedChange,
    ScoredChange,
    SeenBy,
)
from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.ports import PredictionStore
from edupulse_ml.core.predictions import Prediction
from edupulse_ml.core.rescoring import is_same_score

CHANGES_ACTION: Final = "changes"
LOOKED_BACK: Final = 500
"""Predictions looked through for the earlier one: as many as the history shows."""
_POSTGRESQL, _RAY_SERVE = "postgresql", "ray serve"


class ChangePipeline(Protocol):
    """The two hops behind the gateway, as calls about the past. Failures come as errors of `core.errors`."""

    async def contracts_of(self, versions: Sequence[ModelVersion]) -> tuple[FeatureContract, ...]: ...

    async def explain_change(self, request: ChangeRequest) -> ScoredChange: ...


class ScoreChanges:
    """Says what moved a student's score between two stored predictions. Nothing of it is cached.

    Args:
        pipeline: Feature fetcher and risk model.
        store: Stored predictions and the audit trail.
        timeout_s: Longest wait for the servers behind an answer, in seconds.
    """

    def __init__(self, pipeline: ChangePipeline, store: PredictionStore, *, timeout_s: float) -> None:
        self._pipeline = pipeline
        self._store = store
        self._limit = TimeLimit(timeout_s)

    async def changes(
        self, student_id: StudentId, *, since: PredictionId | None, actor: str, request_id: str
    ) -> ExplainedChange:
        """The newest prediction against the one before it, or against `since`; that they were read is audited first.

        Raises:
            NotFoundError: the district has no such student, or the student no such prediction.
            ChangeUnknownError: there is no earlier prediction, or it cannot be computed again.
            DependencyDownError: a server that is needed does not answer, or not in time.
        """
        waiting = Waiting(_POSTGRESQL)
        work = self._changes(student_id, since, waiting, actor=actor, request_id=request_id)
        return await self._limit.run(work, waiting)

    async def _changes(
        self, student_id: StudentId, since: PredictionId | None, waiting: Waiting, *, actor: str, request_id: str
    ) -> ExplainedChange:
        stored = await self._store.history(student_id, limit=LOOKED_BACK)
        await self._store.audit(
            actor=actor, action=CHANGES_ACTION, outcome="read", request_id=request_id, student_id=student_id
        )
        before, after = _pair(stored, since)
        waiting.dependency = _RAY_SERVE
        versions = (before.model_version, after.model_version)
        contracts = await self._pipeline.contracts_of(versions)
        seen = [
            SeenBy(prediction.as_of, prediction.created_at, AskedModel(prediction.model_version, contract))
            for prediction, contract in zip((before, after), contracts, strict=True)
        ]
        scored = await self._pipeline.explain_change(ChangeRequest(student_id, *seen))
        _require_same(before, scored.change.risk_before)
        _require_same(after, scored.change.risk_after)
        return ExplainedChange(before, after, scored.change)


def _pair(stored: Sequence[Prediction], since: PredictionId | None) -> tuple[Prediction, Prediction]:
    """(earlier, later) of predictions that stand newest first."""
    if since is not None and since not in {prediction.prediction_id for prediction in stored}:
        raise NotFoundError(
            f"The student has no prediction of the id asked for among the last {LOOKED_BACK}: see the history."
        )
    if not stored:
        raise ChangeUnknownError("The student has not been scored yet: ask for a prediction first.")
    after, *others = stored
    if since == after.prediction_id:
        raise ChangeUnknownError("That is the student's newest prediction: name an earlier one.")
    earlier = [prediction for prediction in others if since in (None, prediction.prediction_id)]
    if not earlier:
        raise ChangeUnknownError("The student has one prediction only, so there is nothing to compare it with yet.")
    before = next((prediction for prediction in earlier if prediction.as_of <= after.as_of), None)
    if before is None:
        raise ChangeUnknownError(
            "The newest prediction is of an earlier moment than the one to compare it with: ask for a prediction as of "
            "now first."
        )
    return before, after


def _require_same(stored: Prediction, again: float) -> None:
    if not is_same_score(stored.risk_score, again):
        raise ChangeUnknownError(
            "One of the predictions cannot be computed again exactly, so its parts would not be those of the score "
            f"that was shown: `edupulse replay {stored.prediction_id}` says what differs."
        )
