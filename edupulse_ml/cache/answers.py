"""`RedisAnswerCache`: one hash per student, with a generation that tells writes from before a drop.

The hash holds the cached fields and, under `g`, the student's generation (absent: 0). `drop` deletes the fields and
raises the generation; a write made with an older one is ignored inside Redis, so an answer computed from records
read before an import never outlives that import. Keys are digests: Redis sees no student identifier.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import redis.asyncio
import redis.exceptions
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from edupulse_ml.core.clock import Clock
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import DistrictId, StudentId
from edupulse_ml.core.ports import CacheRead, CacheSlot, CacheWrite

_FIELD_PREFIX: Final = "f:"
_GENERATION_TTL_S: Final = 86_400
"""How long a dropped student's generation is kept: far longer than any answer takes to compute."""
_LOG_EVERY: Final = timedelta(minutes=1)
_PAUSE: Final = timedelta(seconds=1)
"""After a failure, reads and writes leave Redis alone for so long, so that a hung server delays few answers."""
_STUDENTS_PER_CALL: Final = 1000
"""Redis runs one script at a time: this many students keep the others waiting for some two milliseconds."""

# A script per batch, not per student: packing and parsing a command costs the client more than Redis takes to run it.
_READ_SCRIPT: Final = """
local found = {}
for number, key in ipairs(KEYS) do
    local pair = redis.call('HMGET', key, 'g', ARGV[number])
    found[2 * number - 1], found[2 * number] = pair[1], pair[2]
end
return found
"""
# ARGV: time to live; then per key its generation, and the number of fields and values that follow, and these.
# The first field's time to live holds for the whole hash: a later write may shorten it but never extend it.
_WRITE_SCRIPT: Final = """
local ttl, at = tonumber(ARGV[1]), 2
for _, key in ipairs(KEYS) do
    local last = at + 1 + tonumber(ARGV[at + 1])
    if tonumber(redis.call('HGET', key, 'g') or '0') == tonumber(ARGV[at]) then
        local fresh = redis.call('HLEN', key) == redis.call('HEXISTS', key, 'g')
        redis.call('HSET', key, unpack(ARGV, at + 2, last))
        local left = redis.call('TTL', key)
        if fresh or left < 0 or left > ttl then redis.call('EXPIRE', key, ttl) end
    end
    at = last + 1
end
"""
_DROP_SCRIPT: Final = """
for _, key in ipairs(KEYS) do
    local generation = tonumber(redis.call('HGET', key, 'g') or '0') + 1
    redis.call('DEL', key)
    redis.call('HSET', key, 'g', generation)
    redis.call('EXPIRE', key, ARGV[1])
end
"""

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class RedisAnswerCache:
    """`core.ports.AnswerCache` on Redis 6.2 or later; `url` is `redis://`, `rediss://` or `unix://`.

    Connects at the first call; belongs to the event loop of that call.
    """

    def __init__(self, url: str, *, district_id: DistrictId, clock: Clock, timeout_s: float = 0.5) -> None:
        self._district_id = district_id
        self._clock = clock
        # redis leaves its keyword arguments without types.
        self._client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 1)
        )
        self._read, self._write, self._drop = (
            self._client.register_script(script) for script in (_READ_SCRIPT, _WRITE_SCRIPT, _DROP_SCRIPT)
        )
        self._failures = 0
        self._logged_at: datetime | None = None
        self._failed_at: datetime | None = None

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def read(self, slots: Sequence[CacheSlot]) -> Sequence[CacheRead]:
        """What the slots hold, in their order; misses where Redis does not answer."""
        misses = [CacheRead(None, 0) for _ in slots]
        if not slots:
            return misses

        async def ask() -> list[CacheRead]:
            reads: list[CacheRead] = []
            for chunk in _chunks(slots):
                keys = [self._key(slot.student_id) for slot in chunk]
                reply: list[bytes | None] = await self._read(keys, [_FIELD_PREFIX + slot.field for slot in chunk])
                reads += [
                    CacheRead(value, int(generation or 0))
                    for generation, value in zip(reply[0::2], reply[1::2], strict=True)
                ]
            return reads

        return await self._attempt(ask, otherwise=misses)

    async def write(self, entries: Sequence[CacheWrite], *, ttl_s: int) -> None:
        """Store the entries of students not dropped since; nothing when `ttl_s` is 0 or Redis does not answer."""
        if not entries or ttl_s <= 0:
            return

        async def ask() -> None:
            for chunk in _chunks(list(_grouped(entries).items())):
                arguments: list[str | bytes | int] = [ttl_s]
                for (_, generation), pairs in chunk:
                    arguments += (generation, len(pairs), *pairs)
                await self._write([self._key(student_id) for (student_id, _), _ in chunk], arguments)

        await self._attempt(ask, otherwise=None)

    async def drop(self, student_ids: Sequence[StudentId]) -> None:
        """Forget these students.

        Raises:
            DependencyDownError: Redis does not answer; some of them may still be cached.
        """
        for chunk in _chunks(student_ids):
            await _translated(self._drop([self._key(student_id) for student_id in chunk], [_GENERATION_TTL_S]))

    async def ping(self) -> None:
        """Return if Redis answers.

        Raises:
            DependencyDownError: it does not.
        """
        await _translated(self._answer())

    async def _answer(self) -> None:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.ping()  # pyright: ignore[reportUnknownMemberType]  # as above
        await pipeline.execute()

    def _key(self, student_id: StudentId) -> str:
        digest = blake2b(f"{self._district_id}\0{student_id}".encode(), digest_size=16).hexdigest()
        return f"edupulse:{digest}"

    async def _attempt(self, ask: Callable[[], Awaitable[T]], *, otherwise: T) -> T:
        now = self._clock.now()
        if self._failed_at is not None and now - self._failed_at < _PAUSE:
            self._failures += 1
            return otherwise
        try:
            answer = await ask()
        except (redis.exceptions.RedisError, OSError) as error:
            self._note_failure(error, now)
            return otherwise
        self._failed_at = None
        return answer

    def _note_failure(self, error: Exception, now: datetime) -> None:
        self._failures += 1
        self._failed_at = now
        if self._logged_at is None or now - self._logged_at >= _LOG_EVERY:
            _log.warning("cache_does_not_answer", error=type(error).__name__, calls_since_last_line=self._failures)
            self._logged_at = now
            self._failures = 0


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _STUDENTS_PER_CALL):
        yield items[start : start + _STUDENTS_PER_CALL]


def _grouped(entries: Iterable[CacheWrite]) -> Mapping[tuple[StudentId, int], list[str | bytes]]:
    """Fields and values, alternating, of each student and generation."""
    groups: dict[tuple[StudentId, int], list[str | bytes]] = {}
    for entry in entries:
        groups.setdefault((entry.slot.student_id, entry.generation), []).extend(
            (_FIELD_PREFIX + entry.slot.field, entry.value)
        )
    return groups


async def _translated(call: Awaitable[Any]) -> None:
    try:
        await call
    except (redis.exceptions.RedisError, OSError) as error:
        raise DependencyDownError(
            f"Redis did not answer ({type(error).__name__}): check that the server runs and that the Redis URL is right.",
            dependency="redis",
        ) from error
