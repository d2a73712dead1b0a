"""In-memory stand-ins for `core.ports`; they pass the same contract tests as the real adapters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from edupulse_ml.core.challenge import Challenge, ShadowPrediction
from edupulse_ml.core.contract import (
    AUX_COLUMNS,
    CONTEXT_COLUMNS,
    FEATURES,
    MODALITIES,
    SUPPORT_COLUMNS,
    FeatureContract,
)
from edupulse_ml.core.errors import DependencyDownError, NotFoundError
from edupulse_ml.core.ids import PredictionId, StudentId, StudentKey
from edupulse_ml.core.ports import CacheRead, CacheSlot, CacheWrite, District, FoundWindows, StoredWindows
from edupulse_ml.core.predictions import InsufficientData, Prediction
from edupulse_ml.core.records import E, ExitEvents, RecordSet, filter_events, take_students
from edupulse_ml.core.sequences import PAD, FeatureBlock, last_windows
from edupulse_ml.core.weeks import NEVER, local_day


class Switch:
    """Something that can be down."""

    def __init__(self, dependency: str) -> None:
        self.dependency = dependency
        self.down = False

    def require_up(self) -> None:
        if self.down:
            raise DependencyDownError(f"{self.dependency} did not answer", dependency=self.dependency)


def empty_block(n_students: int, n_steps: int = 0) -> FeatureBlock:
    """A block of padding only."""
    shape = (n_students, n_steps)
    return FeatureBlock(
        week=np.full(shape, PAD, np.int32),
        values=np.full((*shape, len(FEATURES)), np.nan, np.float32),
        support=np.full((*shape, len(SUPPORT_COLUMNS)), np.nan, np.float32),
        mask=np.zeros((*shape, len(MODALITIES)), np.bool_),
        aux=np.full((*shape, len(AUX_COLUMNS)), np.nan, np.float32),
        context=np.full((*shape, len(CONTEXT_COLUMNS)), np.nan, np.float32),
        school=np.full(shape, PAD, np.int32),
        grade_level=np.full(shape, PAD, np.int32),
        school_year=np.full(shape, PAD, np.int32),
    )


def known_by(events: E, day: int) -> E:
    """The versions known at the end of local day `day`; a later superseding is not known yet."""
    kept = filter_events(events, events.known_day <= day)
    superseded = np.where(kept.superseded_day <= day, kept.superseded_day, NEVER).astype(np.int32)
    return replace(kept, superseded_day=superseded)


@dataclass
class FakeRecordReader:
    """`RecordReader` over one record set; `keys[i]` belongs to position i. `as_of` counts in whole local days."""

    students: Mapping[StudentId, StudentKey]
    records: RecordSet
    exits: ExitEvents
    keys: Sequence[StudentKey]
    timezone: str = "America/New_York"
    switch: Switch = field(default_factory=lambda: Switch("postgresql"))

    async def district(self) -> District:
        self.switch.require_up()
        return District("demo", self.timezone)

    async def find_students(self, student_ids: Sequence[StudentId]) -> Mapping[StudentId, StudentKey]:
        self.switch.require_up()
        return {student_id: self.students[student_id] for student_id in student_ids if student_id in self.students}

    async def records_of(self, keys: Sequence[StudentKey], *, as_of: datetime) -> RecordSet:
        self.switch.require_up()
        chosen = self.records.select([self.keys.index(key) for key in keys])
        day = local_day(as_of, ZoneInfo(self.timezone))
        return replace(
            chosen,
            attendance=known_by(chosen.attendance, day),
            grades=known_by(chosen.grades, day),
            transcript=known_by(chosen.transcript, day),
            discipline=known_by(chosen.discipline, day),
            enrollments=known_by(chosen.enrollments, day),
        )

    async def exits_of(self, keys: Sequence[StudentKey], *, as_of: datetime) -> ExitEvents:
        self.switch.require_up()
        position = np.full(len(self.keys), -1, np.int32)
        position[[self.keys.index(key) for key in keys]] = np.arange(len(keys), dtype=np.int32)
        return known_by(take_students(self.exits, position), local_day(as_of, ZoneInfo(self.timezone)))


@dataclass
class FakeFeatureStore:
    """`FeatureStore` over one block per student. `keeps_windows` False: the weeks were written by a release that knew
    no windows.
    """

    fingerprint: str = ""
    students: Mapping[StudentId, StudentKey] = field(default_factory=dict)
    keeps_windows: bool = True
    blocks: dict[StudentKey, FeatureBlock] = field(default_factory=dict)
    through: dict[StudentKey, int] = field(default_factory=dict)
    queued: dict[StudentKey, int] = field(default_factory=dict)
    calls: int = 0
    switch: Switch = field(default_factory=lambda: Switch("postgresql"))

    def put(self, key: StudentKey, block: FeatureBlock, *, through_week: int) -> None:
        """Store the one-student block `block`, complete through `through_week`."""
        self.blocks[key] = block
        self.through[key] = through_week

    def touch(self, key: StudentKey, *, from_week: int) -> None:
        """An import changed the student from this week on."""
        self.queued[key] = min(from_week, self.queued.get(key, from_week))

    async def find_windows(
        self, student_ids: Sequence[StudentId], *, through_week: int, contract: FeatureContract
    ) -> FoundWindows:
        self.switch.require_up()
        self.calls += 1
        stored = contract.fingerprint == self.fingerprint and self.keeps_windows
        keys = [self.students.get(student_id, StudentKey(0)) for student_id in student_ids]
        current = [contract.fingerprint == self.fingerprint and self._is_current(key, through_week) for key in keys]
        kept = [
            stored and is_current and self._last_week(key) <= through_week
            for key, is_current in zip(keys, current, strict=True)
        ]
        rows = [
            self._window(key, through_week, contract.window_weeks) for key, has in zip(keys, kept, strict=True) if has
        ]
        batch = last_windows(_stack(rows), window_weeks=contract.window_weeks)
        return FoundWindows(np.array(keys, np.int64), np.array(current, np.bool_), np.array(kept, np.bool_), batch)

    def _last_week(self, key: StudentKey) -> int:
        return int(self.blocks[key].week.max(initial=PAD))

    def _is_current(self, key: StudentKey, through_week: int) -> bool:
        return self.through.get(key, -NEVER) >= through_week and not self.queued.get(key, NEVER) <= through_week

    async def latest_windows(
        self, keys: Sequence[StudentKey], *, through_week: int, window_weeks: int, contract_fingerprint: str
    ) -> StoredWindows:
        self.switch.require_up()
        self.calls += 1
        stored = contract_fingerprint == self.fingerprint
        rows = [self._window(key, through_week, window_weeks) if stored else empty_block(1) for key in keys]
        current = [stored and self._is_current(key, through_week) for key in keys]
        return StoredWindows(_stack(rows), current)

    def _window(self, key: StudentKey, through_week: int, window_weeks: int) -> FeatureBlock:
        if key not in self.blocks:
            return empty_block(1)
        block = self.blocks[key]
        steps = np.flatnonzero((block.week[0] != PAD) & (block.week[0] <= through_week))[-window_weeks:]
        return FeatureBlock(**{name: values[:, steps] for name, values in vars(block).items()})


def _stack(rows: Sequence[FeatureBlock]) -> FeatureBlock:
    result = empty_block(len(rows), max((row.week.shape[1] for row in rows), default=0))
    for position, row in enumerate(rows):
        for name, values in vars(row).items():
            getattr(result, name)[position, : values.shape[1]] = values[0]
    return result


@dataclass(frozen=True)
class AuditEntry:
    """One row of the fake audit log."""

    actor: str
    action: str
    outcome: str
    request_id: str
    student_id: StudentId | None


@dataclass
class FakePredictionStore:
    """`PredictionStore` in lists; `known` names the district's students."""

    known: frozenset[StudentId]
    predictions: list[Prediction] = field(default_factory=list)
    audit_log: list[AuditEntry] = field(default_factory=list)
    switch: Switch = field(default_factory=lambda: Switch("postgresql"))

    async def save(
        self, answers: Sequence[Prediction | InsufficientData], *, actor: str, action: str, request_ids: Sequence[str]
    ) -> None:
        self.switch.require_up()
        if any(answer.student_id not in self.known for answer in answers):
            raise NotFoundError("An answer names a student that the district does not have; nothing was stored.")
        stored = {prediction.prediction_id for prediction in self.predictions}
        for answer, request_id in zip(answers, request_ids, strict=True):
            if isinstance(answer, Prediction) and answer.prediction_id not in stored:
                self.predictions.append(answer)
            self.audit_log.append(AuditEntry(actor, action, answer.status, request_id, answer.student_id))

    async def history(self, student_id: StudentId, *, limit: int) -> Sequence[Prediction]:
        self.switch.require_up()
        if student_id not in self.known:
            raise NotFoundError("The district has no such student.")
        own = [prediction for prediction in self.predictions if prediction.student_id == student_id]
        return sorted(own, key=lambda prediction: prediction.created_at, reverse=True)[:limit]

    async def audit(
        self, *, actor: str, action: str, outcome: str, request_id: str, student_id: StudentId | None = None
    ) -> None:
        self.switch.require_up()
        known = student_id if student_id in self.known else None
        self.audit_log.append(AuditEntry(actor, action, outcome, request_id, known))


@dataclass
class FakePastRecords:
    """`PastRecords` of one student at a time that hands out features: `blocks` names what `compute` makes of the records
    after an import, with and without corrections; `otherwise` is used where it names nothing. Every moment sees import
    `import_at(moment)`.
    """

    otherwise: FeatureBlock
    blocks: dict[tuple[int, bool], FeatureBlock] = field(default_factory=dict)
    import_at: Callable[[datetime], int] = lambda moment: 1
    switch: Switch = field(default_factory=lambda: Switch("postgresql"))
    _made: list[tuple[RecordSet, FeatureBlock]] = field(default_factory=list)

    async def records_of(
        self, keys: Sequence[StudentKey], *, as_of: datetime, last_import: int, corrected_since: datetime | None = None
    ) -> RecordSet:
        self.switch.require_up()
        (_,) = keys
        records = RecordSet(1, *[None] * 7)  # pyright: ignore[reportArgumentType] - only compared by identity
        block = self.blocks.get((last_import, corrected_since is None), self.otherwise)
        self._made.append((records, block))
        return records

    async def last_import(self, moment: datetime) -> int:
        self.switch.require_up()
        return self.import_at(moment)

    def compute(self, records: RecordSet, week: int) -> FeatureBlock:
        """The block that these records stand for, up to `week`."""
        (block,) = (block for made, block in self._made if made is records)
        steps = int(((block.week[0] != PAD) & (block.week[0] <= week)).sum())
        return FeatureBlock(**{f.name: getattr(block, f.name)[:, :steps] for f in fields(FeatureBlock)})


@dataclass
class FakeChallengeStore:
    """`ChallengeStore` in memory; `known` names the district's students."""

    known: frozenset[StudentId]
    challenge: Challenge | None = None
    shadows: dict[tuple[str, PredictionId], ShadowPrediction] = field(default_factory=dict)
    switch: Switch = field(default_factory=lambda: Switch("postgresql"))

    async def current(self) -> Challenge | None:
        self.switch.require_up()
        return self.challenge

    async def save_shadows(self, shadows: Sequence[ShadowPrediction], *, challenge_id: str) -> None:
        self.switch.require_up()
        for shadow in shadows:
            if shadow.said.student_id in self.known:
                self.shadows.setdefault((challenge_id, shadow.beside.prediction_id), shadow)


@dataclass
class FakeAnswerCache:
    """`AnswerCache` in a dictionary; entries do not expire."""

    values: dict[CacheSlot, bytes] = field(default_factory=dict)
    generations: dict[StudentId, int] = field(default_factory=dict)
    switch: Switch = field(default_factory=lambda: Switch("redis"))

    async def read(self, slots: Sequence[CacheSlot]) -> Sequence[CacheRead]:
        if self.switch.down:
            return [CacheRead(None, 0) for _ in slots]
        return [CacheRead(self.values.get(slot), self.generations.get(slot.student_id, 0)) for slot in slots]

    async def write(self, entries: Sequence[CacheWrite], *, ttl_s: int) -> None:
        if self.switch.down or ttl_s <= 0:
            return
        for entry in entries:
            if self.generations.get(entry.slot.student_id, 0) == entry.generation:
                self.values[entry.slot] = entry.value

    async def drop(self, student_ids: Sequence[StudentId]) -> None:
        self.switch.require_up()
        for student_id in student_ids:
            self.generations[student_id] = self.generations.get(student_id, 0) + 1
        dropped = set(student_ids)
        self.values = {slot: value for slot, value in self.values.items() if slot.student_id not in dropped}

    async def ping(self) -> None:
        self.switch.require_up()
