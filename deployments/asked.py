"""Questions as they travel through the scoring service: which of them are the same, and where answers are cached."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from deployments.answers import decode_prediction
from deployments.messages import Answer, Question
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.ports import CacheRead, CacheSlot
from edupulse_ml.core.predictions import Prediction
from edupulse_ml.core.weeks import day_number, last_closed_week, monday_of

_SUNDAY: Final = 6

Period: TypeAlias = tuple[date, bool]
"""Moments that have the same answer: a local day, and whether the week that ends with it has closed. A Sunday has both,
because its week closes in its last second, which is what the day's date means where it is asked about.
"""
Key: TypeAlias = tuple[StudentId, Period]


@dataclass(frozen=True)
class Asked:
    """A question with its moment, and the period of that moment."""

    question: Question
    as_of: datetime
    period: Period

    @property
    def key(self) -> Key:
        """The same for questions that have the same answer."""
        return self.question.student_id, self.period


def period_of(moment: datetime, zone: ZoneInfo) -> Period:
    """The period of a moment in the zone in which the district's weeks close."""
    day = moment.astimezone(zone).date()
    is_closed = day.weekday() == _SUNDAY and last_closed_week(moment, zone) == day_number(monday_of(day))
    return day, is_closed


def distinct_questions(asked: Sequence[Asked]) -> list[Asked]:
    """One entry per student and period; it asks for reasons where any of them does."""
    merged: dict[Key, Asked] = {}
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
    day, is_closed = item.period
    closed = ":closed" if is_closed else ""
    return CacheSlot(item.question.student_id, f"answer:{version}:{day.isoformat()}{closed}{split}")


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
