"""What the upper floors need from stores and caches, as Protocols; adapters and fakes pass the same contract tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.challenge import Challenge, ShadowPrediction
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.feedback import Feedback, FeedbackStatus
from edupulse_ml.core.ids import StudentId, StudentKey
from edupulse_ml.core.predictions import InsufficientData, Prediction
from edupulse_ml.core.records import ExitEvents, RecordSet
from edupulse_ml.core.sequences import Bool, FeatureBlock, SequenceBatch


@dataclass(frozen=True)
class District:
    """The tenant, and the zone in which its weeks close (an IANA name)."""

    district_id: str
    timezone: str


class RecordReader(Protocol):
    """Reads dated records of one district. `as_of` limits to versions recorded at or before that moment; the versions
    returned carry `known_day` and `superseded_day` in district-local days, so that features see each week as it was
    known at its own cutoff.
    """

    async def district(self) -> District: ...

    async def find_students(self, student_ids: Sequence[StudentId]) -> Mapping[StudentId, StudentKey]:
        """Known students only; unknown ids are absent from the result. One query."""
        ...

    async def records_of(self, keys: Sequence[StudentKey], *, as_of: datetime) -> RecordSet:
        """Records of these students, position i = keys[i]; a fixed number of queries whatever their number."""
        ...

    async def exits_of(self, keys: Sequence[StudentKey], *, as_of: datetime) -> ExitEvents:
        """How these students' enrolments ended; for labels only."""
        ...


class PastRecords(Protocol):
    """Reads records as they stood after an earlier import, whatever was imported since."""

    async def records_of(
        self, keys: Sequence[StudentKey], *, as_of: datetime, last_import: int, corrected_since: datetime | None = None
    ) -> RecordSet:
        """As `RecordReader.records_of`, of what had been imported by `last_import`. With `corrected_since`, without what
        became known after that moment about times before it.
        """
        ...

    async def last_import(self, moment: datetime) -> int:
        """The last import that was stored by `moment`; 0 before the first."""
        ...


@dataclass(frozen=True)
class StoredWindows:
    """Stored steps of some students, position i = the i-th key asked for. `is_current[i]` is False where the stored
    rows do not cover the week asked for or records were imported since they were written: compute those instead.
    """

    block: FeatureBlock
    is_current: Sequence[bool]


@dataclass(frozen=True)
class FoundWindows:
    """Last windows of B students, position i = the i-th id asked for."""

    keys: NDArray[np.int64]
    """[B] 0 where the district has no such student."""
    is_current: Bool
    """[B] as in `StoredWindows`."""
    has_window: Bool
    """[B] whether `batch` has a row for the student. A current student without one has his weeks stored one by one
    only: ask `latest_windows`."""
    batch: SequenceBatch
    """One row per student with a window, in the order of their positions."""


class FeatureStore(Protocol):
    """Reads materialised student-weeks. School positions of a stored block are those of the whole district."""

    async def find_windows(
        self, student_ids: Sequence[StudentId], *, through_week: int, contract: FeatureContract
    ) -> FoundWindows:
        """Who these students are, and the windows that end at their last step up to and including `through_week`. One
        query, which reads one row per student.
        """
        ...

    async def latest_windows(
        self, keys: Sequence[StudentKey], *, through_week: int, window_weeks: int, contract_fingerprint: str
    ) -> StoredWindows:
        """The last `window_weeks` stored steps up to and including `through_week` for each key. One query."""
        ...


class PredictionStore(Protocol):
    """Keeps predictions and the audit trail."""

    async def save(
        self, answers: Sequence[Prediction | InsufficientData], *, actor: str, action: str, request_ids: Sequence[str]
    ) -> None:
        """Store every `Prediction` and one audit row per answer in one transaction; durable when this returns.
        One statement per table, whatever the number of answers. `request_ids` has one entry per answer.
        """
        ...

    async def history(self, student_id: StudentId, *, limit: int) -> Sequence[Prediction]:
        """Stored predictions of one student, newest first. Empty for a student never scored.

        Raises:
            NotFoundError: the district has no such student.
        """
        ...

    async def audit(
        self, *, actor: str, action: str, outcome: str, request_id: str, student_id: StudentId | None = None
    ) -> None:
        """One audit row for an event without an answer to store; durable when this returns. `student_id` None, or of
        a student whom the district does not have: the row names no student.
        """
        ...


class ChallengeStore(Protocol):
    """Knows which version challenges the champion, and keeps what it says unheard."""

    async def current(self) -> Challenge | None:
        """The challenge that is on, as it was last set; None without one."""
        ...

    async def save_shadows(self, shadows: Sequence[ShadowPrediction], *, challenge_id: str) -> None:
        """Store what the challenger said beside answers; one statement, whatever their number. A pair that is stored
        already stays as it is, and a student whom the district does not have is left out.
        """
        ...


@dataclass(frozen=True)
class CacheSlot:
    """Where an answer is cached: all fields of one student are dropped together."""

    student_id: StudentId
    field: str


@dataclass(frozen=True)
class CacheRead:
    """What a slot held (None: nothing), and the student's generation, which `write` needs."""

    value: bytes | None
    generation: int


@dataclass(frozen=True)
class CacheWrite:
    """A value for a slot, computed from data read after `generation` was read."""

    slot: CacheSlot
    generation: int
    value: bytes


class AnswerCache(Protocol):
    """Cached bytes per student and field, for predictions and feature windows. `read` and `write` are one round trip
    each. A cache that does not answer reads as misses and drops writes, and logs that once a minute; only `ping`
    and `drop` raise.
    """

    async def read(self, slots: Sequence[CacheSlot]) -> Sequence[CacheRead]: ...

    async def write(self, entries: Sequence[CacheWrite], *, ttl_s: int) -> None:
        """Store entries whose student was not dropped since `generation` was read; the others are ignored."""
        ...

    async def drop(self, student_ids: Sequence[StudentId]) -> None:
        """Forget these students.

        Raises:
            DependencyDownError: the cache does not answer.
        """
        ...

    async def ping(self) -> None:
        """Return if the cache answers.

        Raises:
            DependencyDownError: it does not.
        """
        ...


class FeedbackStore(Protocol):
    """Takes what people say about students."""

    async def give(self, statements: Sequence[Feedback], *, actor: str, request_id: str) -> Sequence[FeedbackStatus]:
        """Store all of the statements durably, with one audit row each, or none; their statuses in the order given.

        Raises:
            FeedbackRefusedError: some cannot be taken.
            DependencyDownError: the store does not answer; nothing was stored.
        """
        ...
