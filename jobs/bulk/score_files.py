"""Scores as Parquet: one row per student, readable by anything."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import CATEGORIES, Coverage, Prediction
from edupulse_ml.storage.scoring_runs import INSUFFICIENT, ScoredRows
from jobs.bulk.folders import write_table

KIND: Final = "scores"
_CATEGORY: Final = pa.dictionary(pa.int8(), pa.string())


@dataclass(frozen=True)
class ScoresDescription:
    """What all rows of a folder of scores have in common."""

    model_version: ModelVersion
    policy_version: str
    as_of: datetime


def write_scores(path: Path, student_id: pa.Array, rows: ScoredRows, described: ScoresDescription) -> None:
    """Write one file, whole or not at all. Scores and category are null where there was too little data."""
    insufficient = rows.category == INSUFFICIENT
    n = len(rows.category)
    codes = pa.array(rows.category, pa.int8(), mask=insufficient)
    table = pa.table(
        {
            "student_id": student_id,
            "risk_score": pa.array(rows.risk_score, mask=insufficient),
            "risk_60plus": pa.array(rows.risk_60plus, mask=insufficient),
            "category": pa.DictionaryArray.from_arrays(codes, pa.array(CATEGORIES)),
            "feature_week": pa.array(rows.feature_week, pa.date32(), mask=rows.weeks == 0),
            "coverage_attendance": pa.array(rows.coverage[:, 0]),
            "coverage_course": pa.array(rows.coverage[:, 1]),
            "coverage_discipline": pa.array(rows.coverage[:, 2]),
            "weeks": pa.array(rows.weeks, pa.int32()),
            "as_of": _repeated(described.as_of, pa.timestamp("us", "UTC"), n),
            "model_version": _repeated(described.model_version, pa.string(), n),
            "policy_version": _repeated(described.policy_version, pa.string(), n),
        }
    )
    write_table(table, path, rows_per_group=n, compression="zstd")


def highest(folder: Path, *, limit: int) -> list[Prediction]:
    """The predictions with the highest risk, highest first; holds one file at a time. Their `prediction_id` is empty
    and `created_at` that of `as_of`: a file stores neither.
    """
    best: list[tuple[float, str, Prediction]] = []
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, use_threads=False)
        found = [_prediction(row) for row in table.take(_candidates(table, limit)).to_pylist()]
        best = heapq.nsmallest(
            limit, [*best, *((-item.risk_score, item.student_id, item) for item in found)], key=lambda entry: entry[:2]
        )
    return [item for _, _, item in best]


def count_rows(folder: Path) -> tuple[int, int]:
    """Students scored, and without enough data, in all files."""
    files: Sequence[Path] = sorted(folder.glob("*.parquet"))
    scores = [pq.read_table(path, columns=["risk_score"], use_threads=False)["risk_score"] for path in files]
    insufficient = sum(column.null_count for column in scores)
    return sum(len(column) for column in scores) - insufficient, insufficient


def _candidates(table: pa.Table, limit: int) -> NDArray[np.intp]:
    """Rows with one of the `limit` highest scores of the table, more of them where scores tie."""
    scores = np.nan_to_num(table["risk_score"].to_numpy(), nan=-1.0)
    if not limit or not (scores >= 0).any():
        return np.empty(0, np.intp)
    lowest = np.sort(scores)[-min(limit, len(scores))]
    return np.flatnonzero(scores >= max(lowest, 0.0))


def _repeated(value: Any, kind: pa.DataType, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), n)


def _prediction(row: dict[str, Any]) -> Prediction:
    return Prediction(
        prediction_id=PredictionId(""),
        student_id=StudentId(row["student_id"]),
        as_of=row["as_of"],
        created_at=row["as_of"],
        feature_week=row["feature_week"],
        model_version=ModelVersion(row["model_version"]),
        policy_version=row["policy_version"],
        risk_score=row["risk_score"],
        risk_60plus=row["risk_60plus"],
        category=row["category"],
        coverage=Coverage(
            attendance=row["coverage_attendance"],
            course=row["coverage_course"],
            discipline=row["coverage_discipline"],
            weeks=row["weeks"],
        ),
    )
