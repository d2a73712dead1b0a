"""A district's list of outcomes and interventions into the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4
from zoneinfo import ZoneInfo

from edupulse_ml.config.settings import Settings
from edupulse_ml.connectors.feedback_file import FeedbackChunk, FeedbackList, read_feedback
from edupulse_ml.connectors.importing import FileSummary
from edupulse_ml.connectors.rejects import RejectedRow, RejectFile
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.feedback import FeedbackProblem
from edupulse_ml.storage.feedback import FeedbackRepository, FeedbackSession, Taken
from jobs.wiring import open_context

_COMMAND: Final = "edupulse import feedback"
_COLUMN_OF: Final = {"happened_on": "starts_on", "started_on": "starts_on"}
_DUPLICATE: Final = "another line of this file has the same key"


@dataclass
class _Counts:
    created: int = 0
    corrected: int = 0
    unchanged: int = 0
    refused: int = 0

    def add(self, taken: Taken) -> None:
        """Count what became of some statements."""
        for result in taken.results:
            name = "refused" if isinstance(result, FeedbackProblem) else result
            setattr(self, name, getattr(self, name) + 1)


async def import_feedback(
    settings: Settings, file: Path, *, rejects_path: Path, clock: Clock | None = None
) -> FileSummary:
    """Import the file in one transaction and say what became of it; the same file twice changes nothing.

    Raises:
        InvalidInputError: there is no such file, or `rejects_path` cannot be written.
        DependencyDownError: a server does not answer; nothing was stored.
    """
    async with open_context(settings, clock=clock) as context:
        district = await context.ensure_district()
        rules = ReadingRules(zone=ZoneInfo(district.timezone), now=context.clock.now())
        repository = FeedbackRepository(context.database, clock=context.clock)
        with RejectFile(rejects_path) as rejects:
            found = read_feedback(file, rules=rules, rejects=rejects)
            async with repository.importing(actor=_COMMAND, request_id=str(uuid4())) as session:
                counts = await _take_all(session, found, rejects)
                rejects.finish()
    return FileSummary(
        table="feedback",
        file_name=found.file_name,
        read=found.tally.rows_read,
        inserted=counts.created,
        updated=counts.corrected,
        unchanged=counts.unchanged,
        rejected=found.tally.rows_rejected + counts.refused,
        ignored_columns=found.ignored_columns,
    )


async def _take_all(session: FeedbackSession, found: FeedbackList, rejects: RejectFile) -> _Counts:
    counts = _Counts()
    seen: set[str] = set()
    for chunk in found.chunks:
        fresh = _without_repeated_keys(chunk, seen, counts, file_name=found.file_name, rejects=rejects)
        taken = await session.take(fresh.statements)
        counts.add(taken)
        for problem in taken.problems:
            column = _COLUMN_OF.get(problem.field, problem.field)
            rejects.add(RejectedRow(found.file_name, fresh.lines[problem.position], column, problem.message))
    return counts


def _without_repeated_keys(
    chunk: FeedbackChunk, seen: set[str], counts: _Counts, *, file_name: str, rejects: RejectFile
) -> FeedbackChunk:
    """The rows whose key no earlier line of the file has; what would be a correction within one file is a mistake."""
    kept: list[int] = []
    for at, statement in enumerate(chunk.statements):
        if statement.key in seen:
            rejects.add(RejectedRow(file_name, chunk.lines[at], "key", _DUPLICATE))
            counts.refused += 1
        else:
            seen.add(statement.key)
            kept.append(at)
    return FeedbackChunk(_at(chunk.lines, kept), [chunk.statements[at] for at in kept])


def _at(values: Sequence[int], positions: Sequence[int]) -> list[int]:
    return [values[at] for at in positions]
