"""`PostgresPredictionStore`: every prediction is stored and audited before its answer leaves."""

from collections.abc import Sequence
from datetime import UTC

import psycopg

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.predictions import InsufficientData, Prediction
from edupulse_ml.storage.connection import Connection, Database
from edupulse_ml.storage.prediction_rows import answer_rows, prediction_from_row
from edupulse_ml.storage.sql import load_queries


class UnknownStudentError(NotFoundError):
    """The district has no such student."""


class PostgresPredictionStore:
    """`core.ports.PredictionStore` of the database's district."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("predictions")

    async def save(
        self, answers: Sequence[Prediction | InsufficientData], *, actor: str, action: str, request_ids: Sequence[str]
    ) -> None:
        """Store the predictions and one audit row per answer, durably, in one statement.

        Raises:
            UnknownStudentError: an answer names a student whom the district does not have; nothing was stored.
            DependencyDownError: PostgreSQL does not answer; nothing was stored.
            ValueError: there are more or fewer request ids than answers.
        """
        if len(answers) != len(request_ids):
            msg = f"{len(answers)} answers came with {len(request_ids)} request ids"
            raise ValueError(msg)
        if not answers:
            return
        parameters = {
            "rows": answer_rows(answers, request_ids=request_ids),
            "n_answers": len(answers),
            "actor": actor,
            "action": action,
        }
        async with self._database.connection() as connection:
            try:
                cursor = await connection.execute(self._queries["save_answers"], parameters)
            except psycopg.errors.CheckViolation:
                # A new month has begun: its partitions are missing until the first row asks for them.
                await self._ensure_months(connection, answers)
                cursor = await connection.execute(self._queries["save_answers"], parameters)
            if await cursor.fetchone() != (True,):
                raise _unknown_student()

    async def history(self, student_id: StudentId, *, limit: int) -> Sequence[Prediction]:
        """Stored predictions of one student, newest first.

        Raises:
            UnknownStudentError: the district has no such student.
        """
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["find_student"], {"student_id": student_id})
            row = await cursor.fetchone()
            if row is None:
                raise _unknown_student()
            cursor = await connection.execute(self._queries["history"], {"student_key": row[0], "limit": limit})
            rows = await cursor.fetchall()
        return [prediction_from_row(student_id, row) for row in rows]

    async def audit(
        self, *, actor: str, action: str, outcome: str, request_id: str, student_id: StudentId | None = None
    ) -> None:
        """One audit row for an event without an answer to store; it names the student where the district has one."""
        parameters = {
            "actor": actor,
            "action": action,
            "outcome": outcome,
            "request_id": request_id,
            "student_id": student_id,
        }
        async with self._database.connection() as connection:
            try:
                await connection.execute(self._queries["audit_event"], parameters)
            except psycopg.errors.CheckViolation:
                await self._ensure_months(connection, [])
                await connection.execute(self._queries["audit_event"], parameters)

    async def _ensure_months(self, connection: Connection, answers: Sequence[Prediction | InsufficientData]) -> None:
        months = {
            answer.created_at.astimezone(UTC).date().replace(day=1)
            for answer in answers
            if isinstance(answer, Prediction)
        }
        await connection.execute(self._queries["ensure_months"], {"months": sorted(months)})
        await connection.execute(self._queries["ensure_audit_months"])


def _unknown_student() -> UnknownStudentError:
    return UnknownStudentError("The district has no such student: import the student's records first.")
