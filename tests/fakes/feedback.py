"""`FeedbackStore` in a dictionary; takes what the real one takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.feedback import Feedback, FeedbackProblem, FeedbackStatus, refusal
from edupulse_ml.core.ids import PredictionId, StudentId, StudentKey
from edupulse_ml.storage.feedback_rows import Content, StoredStatement, content_of, judge
from tests.fakes.stores import Switch


@dataclass
class FakeFeedbackStore:
    """`prediction_student` says whose a prediction is, None if there is none. `versions` are in the order stored."""

    keys: Mapping[StudentId, StudentKey]
    prediction_student: Callable[[PredictionId], StudentId | None]
    clock: Clock
    current: dict[str, Content] = field(default_factory=dict)
    versions: list[Content] = field(default_factory=list)
    audited: list[tuple[str, str, str, FeedbackStatus]] = field(default_factory=list)
    switch: Switch = field(default_factory=lambda: Switch("postgresql"))

    async def give(self, statements: Sequence[Feedback], *, actor: str, request_id: str) -> Sequence[FeedbackStatus]:
        self.switch.require_up()
        now = self.clock.now()
        found = [self._find(statement) for statement in statements]
        judged = [
            judge(statement, stored, position=position, now=now)
            for position, (statement, stored) in enumerate(zip(statements, found, strict=True))
        ]
        keys = [statement.key for statement in statements]
        problems = [result for result in judged if isinstance(result, FeedbackProblem)]
        problems += [
            FeedbackProblem(position, "key", 422, "Another statement here has the same key.")
            for position, key in enumerate(keys)
            if key in keys[:position]
        ]
        if problems:
            raise refusal(problems, given=len(statements))
        for statement, stored, status in zip(statements, found, judged, strict=True):
            assert not isinstance(status, FeedbackProblem)
            self.audited.append((actor, request_id, statement.kind, status))
            if status != "unchanged":
                self.current[statement.key] = content_of(statement, stored, now=now)
                self.versions.append(self.current[statement.key])
        return [status for status in judged if not isinstance(status, FeedbackProblem)]

    def _find(self, statement: Feedback) -> StoredStatement:
        prediction = getattr(statement, "prediction_id", None)
        owner = None if prediction is None else self.prediction_student(prediction)
        stored = self.current.get(statement.key)
        return StoredStatement(
            self.keys.get(statement.student_id),
            None if owner is None else self.keys.get(owner),
            *((None,) * 9 if stored is None else _stored(stored)),
        )


def _stored(content: Content) -> tuple:
    days = [date.fromisoformat(day) if day else None for day in (content["starts_on"], content["ends_on"])]
    return (
        content["student_key"],
        content["kind"],
        content["value"],
        content["prediction_id"],
        *days,
        content["given_by"],
        content["retracted"],
        datetime.fromisoformat(content["recorded_at"]),
    )
