"""Answers as a DataFrame."""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from edupulse_ml.client.results import BatchAnswer, FailedStudent, ScoredStudent
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.predictions import Reason

ANSWER_COLUMNS: Final = (
    "status", "category", "support_need", "risk_score", "risk_60plus", "reasons", "protective_factors",
    "coverage_attendance", "coverage_course", "coverage_discipline", "weeks", "feature_week", "model_version",
    "prediction_id", "problem",
)  # fmt: skip
"""Columns that `predict_frame` adds."""


class FrameColumnError(InvalidInputError):
    """The frame lacks the column of student ids, or has a column that an answer would overwrite."""


def student_ids_of(frame: pd.DataFrame, *, id_column: str) -> list[str]:
    """The ids of a frame, one per row, as text.

    Raises:
        FrameColumnError: the column is missing or holds empty cells, or a column of the answer exists already.
    """
    if id_column not in frame.columns:
        raise FrameColumnError(f"The frame has no column {id_column!r}: name the one that holds the student ids.")
    taken = sorted(set(ANSWER_COLUMNS) & set(frame.columns))
    if taken:
        raise FrameColumnError(f"The frame has columns that an answer would overwrite: rename {', '.join(taken)}.")
    if frame[id_column].isna().any():
        raise FrameColumnError(f"The column {id_column!r} holds empty cells: drop those rows first.")
    return [str(value) for value in frame[id_column]]


def with_answers(frame: pd.DataFrame, answers: Sequence[BatchAnswer]) -> pd.DataFrame:
    """A new frame: the rows of `frame`, same index, with `ANSWER_COLUMNS` beside them; missing where not scored."""
    rows = pd.DataFrame([_row(answer) for answer in answers], index=frame.index, columns=list(ANSWER_COLUMNS))
    rows["weeks"] = rows["weeks"].astype("Int64")
    for name in ("risk_score", "risk_60plus", "coverage_attendance", "coverage_course", "coverage_discipline"):
        rows[name] = rows[name].astype("float64")
    rows["feature_week"] = pd.to_datetime(rows["feature_week"])
    return pd.concat([frame, rows], axis=1)


def _row(answer: BatchAnswer) -> dict[str, Any]:
    row: dict[str, Any] = {"status": answer.status}
    if isinstance(answer, FailedStudent):
        return row | {"problem": answer.detail}
    coverage = answer.coverage
    if coverage is not None:
        row |= {
            "coverage_attendance": coverage.attendance,
            "coverage_course": coverage.course,
            "coverage_discipline": coverage.discipline,
            "weeks": coverage.weeks,
        }
    if not isinstance(answer, ScoredStudent):
        return row | {"problem": "; ".join(answer.missing)}
    return row | {
        "category": answer.category,
        "support_need": answer.support_need,
        "risk_score": answer.risk_score,
        "risk_60plus": answer.risk_60plus,
        "reasons": _texts(answer.reasons),
        "protective_factors": _texts(answer.protective_factors),
        "feature_week": answer.feature_week,
        "model_version": answer.model_version,
        "prediction_id": answer.prediction_id,
    }


def _texts(reasons: tuple[Reason, ...] | None) -> str | None:
    return None if reasons is None else " ".join(reason.text for reason in reasons)
