"""What travels between the gateway, the feature fetcher and the risk model, and the questions and answers around them.

A hop answers with a value also when it fails (`HopFailure`): exceptions would cross process boundaries wrapped by Ray
and with a traceback in the logs of every hop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import ContractMismatchError, DependencyDownError, EduPulseError
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.predictions import Coverage, InsufficientData, Prediction, Reason
from edupulse_ml.core.sequences import SequenceBatch


@dataclass(frozen=True)
class Question:
    """One student's risk as of a moment, or of the end of a date; None asks for now. `request_id` and `actor` go to
    the audit trail.
    """

    student_id: StudentId
    as_of: datetime | date | None
    include_reasons: bool
    request_id: str
    actor: str


@dataclass(frozen=True)
class UnknownStudent:
    """The district has no such student."""

    student_id: StudentId
    status: Literal["unknown_student"] = "unknown_student"


Answer = Prediction | InsufficientData | UnknownStudent


@dataclass(frozen=True)
class FetchRequest:
    """Windows of these students (each named once) as known at `as_of`."""

    student_ids: tuple[StudentId, ...]
    as_of: datetime


@dataclass(frozen=True)
class FetchedStudent:
    """What was found of one student. `feature_week` is the Monday's day number of the last step, None without any."""

    status: Literal["found", "unknown_student", "insufficient"]
    feature_week: int | None = None
    coverage: Coverage | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class FetchedWindows:
    """One entry of `students` per id asked for; `batch` holds a row per *found* student, in the same order."""

    students: tuple[FetchedStudent, ...]
    batch: SequenceBatch
    contract_fingerprint: str


@dataclass(frozen=True)
class HopFailure:
    """A hop could not do its work; `dependency` names the server that is missing, None for a contract mismatch."""

    message: str
    dependency: str | None

    def error(self) -> EduPulseError:
        """The failure as the error that the HTTP layer reports."""
        if self.dependency is None:
            return ContractMismatchError(self.message)
        return DependencyDownError(self.message, dependency=self.dependency)


@dataclass(frozen=True)
class Explanation:
    """What raises and what lowers one student's risk."""

    reasons: tuple[Reason, ...]
    protective_factors: tuple[Reason, ...]


@dataclass(frozen=True)
class ModelScores:
    """The model's answers about B found students, as arrays: one pickled block instead of B objects.

    `categories` [B] are positions in `CATEGORIES`. `attention_week` [B, K] holds the Mondays' day numbers of the
    weeks with the greatest weight, heaviest first, and `PAD` where the window has fewer; `attention_weight` [B, K].
    `explanations` names the rows whose reasons were asked for.
    """

    risk_score: NDArray[np.float64]
    risk_60plus: NDArray[np.float64]
    categories: NDArray[np.int8]
    attention_week: NDArray[np.int32]
    attention_weight: NDArray[np.float32]
    explanations: Mapping[int, Explanation]


@dataclass(frozen=True)
class ScoredStudents:
    """`students` as fetched, one per id asked for; `scores` has one row per found student, in the same order."""

    students: tuple[FetchedStudent, ...]
    scores: ModelScores
    model_version: ModelVersion
    policy_version: str


@dataclass(frozen=True)
class ServedModel:
    """What a risk model replica serves. `version` None: nothing yet. `swap_failure` says why the model last asked for
    (`wanted`) is not the one served; None when it is.
    """

    wanted: str
    version: ModelVersion | None
    policy_version: str | None
    contract_fingerprint: str | None
    loaded_at: datetime | None
    swap_failure: str | None
