"""What people say back about students: outcomes, support given, and what they think of a flag.

None of it is ever an input of a model. Outcomes become labels once they are known, support says which student-weeks
may not be learned from, and an opinion on a flag is reported and nothing else. There is no place for free text: a
sentence about a student would carry what no rule could keep out of logs and models again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import ConflictError, DependencyDownError, EduPulseError, InvalidInputError, NotFoundError
from edupulse_ml.core.ids import PredictionId, StudentId
from edupulse_ml.core.tables import Column, Table

OutcomeWord = Literal["left", "stayed", "transferred", "graduated"]
FlagWord = Literal["useful", "not_useful", "wrong", "already_known"]
InterventionWord = Literal[
    "attendance_support", "tutoring", "mentoring", "counseling", "family_contact", "credit_recovery", "other"
]
FeedbackKind = Literal["outcome", "flag", "intervention"]

OUTCOME_WORDS: Final[tuple[OutcomeWord, ...]] = get_args(OutcomeWord)
"""Position = code in arrays."""
FLAG_WORDS: Final[tuple[FlagWord, ...]] = get_args(FlagWord)
DISMISSALS: Final[tuple[FlagWord, ...]] = ("not_useful", "wrong")
"""Words that say that the flag should not have been raised. `already_known` says that it was right, and late."""
INTERVENTION_WORDS: Final[tuple[InterventionWord, ...]] = get_args(InterventionWord)


@dataclass(frozen=True, kw_only=True)
class _Statement:
    """One statement about one student. `key` is the giver's own name for it, unique in the district: the same key with
    the same content changes nothing, with other content it corrects what was said before, and with `retracted` it
    takes it back. `given_by` says who said so. `recorded_at` is when the district knew it; None: when it is stored.
    """

    key: str
    student_id: StudentId
    given_by: str
    recorded_at: datetime | None = None
    retracted: bool = False


@dataclass(frozen=True, kw_only=True)
class OutcomeFeedback(_Statement):
    """What became of a student. `happened_on`: the last day attended of one who left, transferred or graduated; the day
    on which one who stayed was seen enrolled. `recorded_at` is the outcome's `label_known_at`.
    """

    outcome: OutcomeWord
    happened_on: date
    kind: Literal["outcome"] = "outcome"


@dataclass(frozen=True, kw_only=True)
class FlagFeedback(_Statement):
    """What a counselor thinks of one stored prediction of the student. Never a label."""

    verdict: FlagWord
    prediction_id: PredictionId
    kind: Literal["flag"] = "flag"


@dataclass(frozen=True, kw_only=True)
class InterventionFeedback(_Statement):
    """Support that a student was given from `started_on` through `ended_on`; None: not ended, or the end is not known."""

    intervention: InterventionWord
    started_on: date
    ended_on: date | None = None
    kind: Literal["intervention"] = "intervention"


Feedback: TypeAlias = OutcomeFeedback | FlagFeedback | InterventionFeedback

FeedbackStatus = Literal["created", "corrected", "unchanged"]


@dataclass(frozen=True)
class FeedbackProblem:
    """Why the statement at `position` (from 0) of those given was not taken. `status` is an HTTP status; `field` names
    the part of the statement, empty where it is about the whole.
    """

    position: int
    field: str
    status: int
    message: str


class FeedbackRefusedError(EduPulseError):
    """Some of the statements cannot be taken, so none was stored; `problems` says which and why."""

    def __init__(self, message: str, problems: Sequence[FeedbackProblem]) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class FeedbackBusyError(DependencyDownError):
    """Somebody else writes feedback, and one writes at a time; nothing was stored."""

    title = "Feedback busy"


class UnknownInFeedbackError(FeedbackRefusedError, NotFoundError):
    """A statement names a student or a prediction that the district does not have."""


class FeedbackConflictError(FeedbackRefusedError, ConflictError):
    """A statement contradicts the one stored under its key."""


class UnusableFeedbackError(FeedbackRefusedError, InvalidInputError):
    """A statement cannot be used."""


def refusal(problems: Sequence[FeedbackProblem], *, given: int) -> FeedbackRefusedError:
    """The error that tells of these problems, of the family of the first."""
    first = problems[0]
    kind = {404: UnknownInFeedbackError, 409: FeedbackConflictError}.get(first.status, UnusableFeedbackError)
    statements = "statement" if given == 1 else "statements"
    return kind(
        f"{len(problems)} of {given} {statements} cannot be taken, so nothing was stored: mend them and send all again.",
        problems,
    )


Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class ReportedOutcomes:
    """Outcomes that people reported, one entry per version, as in `core.records`: `student` is a position, days are day
    numbers, a version is known from `known_day` until the day before `superseded_day`. `outcome` is a position in
    `OUTCOME_WORDS`. A retracted version supersedes the one before it and stands for nothing, so it is not here.
    """

    student: Int32
    outcome: Int8
    day: Int32
    known_day: Int32
    superseded_day: Int32


@dataclass(frozen=True)
class Interventions:
    """Support of students, one entry per version, as `ReportedOutcomes`. `end_day` is the last day of it, `NEVER` where
    that is not known.
    """

    student: Int32
    start_day: Int32
    end_day: Int32
    known_day: Int32
    superseded_day: Int32


def nothing_reported() -> ReportedOutcomes:
    """No outcome was reported of anybody."""
    none = np.empty(0, np.int32)
    return ReportedOutcomes(none, np.empty(0, np.int8), none, none, none)


def no_interventions() -> Interventions:
    """Nobody was given support."""
    none = np.empty(0, np.int32)
    return Interventions(none, none, none, none, none)


FEEDBACK_FILE: Final = Table(
    "feedback",
    (
        Column("key", "text", required=True, personal=True),
        Column("kind", "text", required=True, choices=("outcome", "intervention")),
        Column("student_id", "text", required=True, personal=True),
        Column("value", "text", required=True, choices=(*OUTCOME_WORDS, *INTERVENTION_WORDS)),
        Column("starts_on", "date", required=True),
        Column("ends_on", "date"),
        Column("given_by", "text", required=True, personal=True),
        Column("recorded_at", "moment"),
        Column("retracted", "boolean", default=False),
    ),
    natural_key=("key",),
)
"""A district's list of outcomes and interventions, one row each. Not a table of the import folder: its rows speak about
students, they are no records that features are computed from.
"""
