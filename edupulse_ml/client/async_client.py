"""The client for asyncio."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
import pandas as pd

from edupulse_ml.client import protocol, training
from edupulse_ml.client.feedback import feedback_answer, feedback_calls
from edupulse_ml.client.frames import student_ids_of, with_answers
from edupulse_ml.client.results import Answer, BatchAnswer, CurrentModel, ScoreChanges, ScoredStudent
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.core.feedback import Feedback, FeedbackStatus


class AsyncEduPulse:
    """EduPulse over HTTP, for asyncio; belongs to one event loop.

    Args:
        base_url: Address of the service; None: `EDUPULSE_API_URL`, else the one that `edupulse up` started from the home
            folder, else port 8000 of this machine.
        token: Bearer token; None: `EDUPULSE_TOKEN`, else the file `token` of the home folder (`.edupulse`).
        timeout_s: Longest wait for one answer, in seconds.
        retry: When and how often a request is repeated.
        transport: Replaces the network, for tests.
        sleep: Waits between repetitions.

    Example:
        async with AsyncEduPulse() as edupulse:
            print((await edupulse.predict("S000123")).category)
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        retry: protocol.RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._retry = retry or protocol.RetryPolicy()
        self._sleep = sleep
        self._base_url = protocol.resolve_base_url(base_url)
        self._http = httpx.AsyncClient(
            base_url=self._base_url,
            headers=protocol.headers(protocol.resolve_token(token)),
            timeout=timeout_s,
            trust_env=protocol.trusts_environment(self._base_url),
            transport=transport,
        )

    async def predict(
        self, student_id: str, *, as_of: date | datetime | None = None, include_reasons: bool = True
    ) -> Answer:
        """The risk of one student now, or as of a moment or the end of a date.

        Raises:
            NotFoundError: the district has no such student.
            InvalidInputError: `as_of` lies in the future, or the id is not one.
            UnauthorizedError: the token is not the service's.
            TooManyRequestsError: the service stayed busy through all repetitions.
            DependencyDownError: the service lacks a server, or does not answer.
        """
        return protocol.one_answer(
            await self._send(protocol.predict_call(student_id, as_of=as_of, include_reasons=include_reasons))
        )

    async def predict_many(
        self,
        student_ids: Sequence[str],
        *,
        as_of: date | datetime | None = None,
        include_reasons: bool = True,
    ) -> list[BatchAnswer]:
        """Answers for any number of students, in their order; one student's problem is a `FailedStudent`.

        Raises as `predict` does for what concerns all students.
        """
        calls = protocol.batch_calls(student_ids, as_of=as_of, include_reasons=include_reasons)
        return [answer for chunk, call in calls for answer in protocol.batch_answers(await self._send(call), chunk)]

    async def predict_frame(
        self,
        frame: pd.DataFrame,
        *,
        id_column: str = "student_id",
        as_of: date | datetime | None = None,
        include_reasons: bool = True,
    ) -> pd.DataFrame:
        """A new frame with the answers beside the rows of `frame`, whose order and index it keeps.

        Raises as `predict_many` does, and `FrameColumnError` where the columns do not fit.
        """
        ids = student_ids_of(frame, id_column=id_column)
        return with_answers(frame, await self.predict_many(ids, as_of=as_of, include_reasons=include_reasons))

    async def history(self, student_id: str, *, limit: int = 50) -> list[ScoredStudent]:
        """Stored predictions of one student, newest first; raises `NotFoundError` for an unknown student."""
        return protocol.history_answers(await self._send(protocol.history_call(student_id, limit=limit)))

    async def changes(self, student_id: str, *, since: str | None = None) -> ScoreChanges:
        """What moved a student's score from the prediction before to the newest one, or from the prediction `since`.

        Raises:
            NotFoundError: the district has no such student, or the student no such prediction.
            ConflictError: there is no earlier prediction, or it cannot be computed again.
        """
        return protocol.changes_answer(await self._send(protocol.changes_call(student_id, since=since)))

    async def give_feedback(self, statements: Sequence[Feedback]) -> list[FeedbackStatus]:
        """Say what became of students, what support they were given, what you think of a flag; statuses in the order given.

        Sent in requests of at most 100 statements: each request is stored in whole or not at all, and a statement whose
        key is known is not stored twice, so all of them may be sent again after an error.

        Raises:
            NotFoundError: the district has no such student, or the student no such prediction.
            ConflictError: a key stands for something else, or a later version is stored.
            InvalidInputError: a statement cannot be used.
            UnauthorizedError: the token is not the service's.
            DependencyDownError: the service lacks a server, or does not answer.
        """
        calls = feedback_calls(statements)
        return [status for call in calls for status in feedback_answer(await self._send(call))]

    async def current_model(self) -> CurrentModel:
        """The model that answers now."""
        return protocol.model_answer(await self._send(protocol.MODEL_CALL))

    async def start_training(
        self, order: TrainingOrder | None = None, *, idempotency_key: str | None = None
    ) -> training.RunStatus:
        """Start a training run (`order` None: as `edupulse train` without options). The same key starts one run only.

        Raises:
            ConflictError: another run of the district is under way.
            InvalidInputError: the order is not valid, or the key was used for another one.
            DependencyDownError: Ray or the database does not answer; with the same key it may be asked for again.
        """
        call = training.start_call(order or TrainingOrder(), key=idempotency_key)
        return training.run_status(await self._send(call))

    async def training_status(self, job_id: UUID) -> training.RunStatus:
        """How a training run goes; raises `NotFoundError` for an unknown one."""
        return training.run_status(await self._send(training.status_call(job_id)))

    async def stop_training(self, job_id: UUID) -> training.RunStatus:
        """Stop a training run; its checkpoints stay. Raises `ConflictError` if it has ended."""
        return training.run_status(await self._send(training.stop_call(job_id)))

    async def models(self, *, limit: int = 20) -> list[training.ModelSummary]:
        """Registered models, newest first."""
        return training.model_summaries(await self._send(training.models_call(limit=limit)))

    async def model(self, version: str) -> training.ModelDetail:
        """One registered model with its figures; raises `NotFoundError` for an unknown one."""
        return training.model_detail(await self._send(training.model_call(version)))

    async def model_card(self, version: str) -> str:
        """The card of a model, an HTML page; raises `NotFoundError` where it has none."""
        return training.card_page(await self._send(training.card_call(version)))

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: protocol.Call) -> dict[str, Any]:
        steps = protocol.exchange(call, retry=self._retry, base_url=self._base_url)
        step = next(steps)
        try:
            while True:
                step = steps.send(
                    await self._attempt(step) if isinstance(step, protocol.Call) else await self._sleep(step)
                )
        except StopIteration as done:
            return done.value

    async def _attempt(self, call: protocol.Call) -> protocol.Outcome:
        try:
            return await self._http.request(
                call.method, call.path, json=call.body, params=call.params, headers=call.headers
            )
        except httpx.TransportError as error:
            return error
