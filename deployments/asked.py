"""Questions as they travel through the scoring service: which of them are the same, and where answers are cached."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from deployments.answers import decode_prediction
from deployments.messages import Answer, Question
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.ports import CacheRead, CacheSlot
from edupulse_ml.core.predictions import Prediction


@dataclass(frozen=True)
class Asked:
    """A question with its moment. The answer is the same during the whole local day, which is therefore the key."""

    question: Question
    as_of: datetime
    local_day: date

    @property
    def key(self) -> tuple[StudentId, date]:
        return self.question.student_id, self.local_day


def distinct_questions(asked: Sequence[Asked]) -> list[Asked]:
    """One entry per student and day; it asks for reasons where any of them does."""
    merged: dict[tuple[StudentId, date], Asked] = {}
    for item in asked:
        held = merged.get(item.key)
        if held is None or (item.question.include_reasons and not held.question.include_reasons):
            merged[item.key] = item
    return list(merged.values())


def answer_slot(item: Asked, version: ModelVersion, challenge_id: str | None = None) -> CacheSlot:
    """Where the answer of one model version is cached. While a challenge splits the students, its answers are kept apart:
    none from before it, or from another one, is taken for one of its own.
    """
    split = f":{challenge_id}" if challenge_id is not None else ""
    return CacheSlot(item.question.student_id, f"answer:{version}:{item.local_day.isoformat()}{split}")


def usable_answer(item: Asked, read: CacheRead) -> Prediction | None:
    """The cached answer if it says all that was asked for."""
    answer = decode_prediction(read.value) if read.value is not None else None
    if answer is not None and item.question.include_reasons and answer.reasons is None:
        return None
    return answer


def as_asked(answer: Answer, question: Question) -> Answer:
    """`answer` without the reasons that nobody asked for."""
    if isinstance(answer, Prediction) and not question.include_reasons and answer.reasons is not None:
        return dataclasses.replace(answer, reasons=None, protective_factors=None)
    return answer
