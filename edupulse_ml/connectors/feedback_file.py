"""A district's list of outcomes and interventions, as statements (docs/feedback.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from edupulse_ml.connectors.folder import read_file
from edupulse_ml.connectors.rejects import RejectSink
from edupulse_ml.connectors.schemas import LINE
from edupulse_ml.connectors.table_files import ReadTally
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.feedback import FEEDBACK_FILE, Feedback, InterventionFeedback, OutcomeFeedback
from edupulse_ml.core.ids import StudentId


@dataclass(frozen=True)
class FeedbackChunk:
    """Some statements of a file and the line of each."""

    lines: Sequence[int]
    statements: Sequence[Feedback]


@dataclass(frozen=True)
class FeedbackList:
    """The statements of one file. `chunks` can be consumed once; meanwhile `tally` grows, and bad rows go to the rejects."""

    file_name: str
    chunks: Iterator[FeedbackChunk]
    tally: ReadTally
    ignored_columns: tuple[str, ...]


def read_feedback(path: Path, *, rules: ReadingRules, rejects: RejectSink) -> FeedbackList:
    """The statements of a CSV or Parquet file; a bad row is rejected and the others go on.

    Raises:
        NoImportFolderError: there is no such file.
    """
    file = read_file(FEEDBACK_FILE, path, rules=rules, rejects=rejects)
    return FeedbackList(file.file_name, map(_statements, file.chunks), file.tally, file.ignored_columns)


def _statements(rows: pa.Table) -> FeedbackChunk:
    written = rows.to_pylist()
    return FeedbackChunk([row[LINE] for row in written], [_statement(row) for row in written])


def _statement(row: dict[str, Any]) -> Feedback:
    shared: dict[str, Any] = {
        "key": row["key"],
        "student_id": StudentId(row["student_id"]),
        "given_by": row["given_by"],
        "recorded_at": row["recorded_at"],
        "retracted": row["retracted"],
    }
    if row["kind"] == "outcome":
        return OutcomeFeedback(outcome=row["value"], happened_on=row["starts_on"], **shared)
    return InterventionFeedback(
        intervention=row["value"], started_on=row["starts_on"], ended_on=row["ends_on"], **shared
    )
