"""What travels between gateway and hops when a move of a score is explained."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from deployments.messages import HopFailure
from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.errors import ConflictError, EduPulseError
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.predictions import Prediction
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.explain.changes import ScoreChange


class ChangeUnknownError(ConflictError):
    """What moved the score cannot be said."""

    title = "Change unknown"


@dataclass(frozen=True)
class AskedModel:
    """The version that made a prediction, and the features it reads."""

    version: ModelVersion
    contract: FeatureContract


@dataclass(frozen=True)
class SeenBy:
    """What a prediction was made from: the moment scored for, when it was made, and by which model."""

    as_of: datetime
    made_at: datetime
    model: AskedModel


@dataclass(frozen=True)
class ChangeRequest:
    """The move between two predictions of one student."""

    student_id: StudentId
    before: SeenBy
    after: SeenBy


@dataclass(frozen=True)
class FetchedChange:
    """`windows` are the five of `explain.change_windows` under the earlier model's contract, `new_window` is the last one
    under the later model's.
    """

    before: AskedModel
    after: AskedModel
    windows: SequenceBatch
    new_window: SequenceBatch


@dataclass(frozen=True)
class ScoredChange:
    """The parts of the move."""

    change: ScoreChange


@dataclass(frozen=True)
class ChangeRefused:
    """A hop cannot say what moved the score, and why."""

    message: str

    def error(self) -> ChangeUnknownError:
        """The refusal as the error that the HTTP layer reports."""
        return ChangeUnknownError(self.message)


@dataclass(frozen=True)
class ChangeFailed:
    """A fault of ours in a hop; what it was stands in the hop's log."""

    def error(self) -> EduPulseError:
        """The fault as the error that the HTTP layer reports."""
        return EduPulseError("What moved the score could not be computed: the logs of the hops say why.")


NoChange: TypeAlias = ChangeRefused | ChangeFailed | HopFailure
"""What a hop answers instead of what was asked for."""


@dataclass(frozen=True)
class ExplainedChange:
    """Two stored predictions of one student and what moved the score from the earlier to the later one."""

    before: Prediction
    after: Prediction
    change: ScoreChange
