"""The evaluation report: what was measured, on whom, and how sure it is. Plain data, to JSON and back.

Grain of `groups`: one entry per model, task and landmark, `POOLED` being all landmarks together. No entry describes
fewer than ten students, and no entry names one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import TypeAdapter, ValidationError

from edupulse_ml.core.errors import InvalidInputError, NotFoundError
from edupulse_ml.evaluation.counselor_slots import Capacity
from edupulse_ml.evaluation.decision_curve import DecisionCurve
from edupulse_ml.evaluation.fairness import Fairness
from edupulse_ml.evaluation.faithfulness import Faithfulness
from edupulse_ml.evaluation.figures import MIN_STUDENTS, POOLED, TOO_FEW, Figure
from edupulse_ml.evaluation.generalisation import Generalisation
from edupulse_ml.evaluation.lead_time import LeadTime
from edupulse_ml.evaluation.metrics import CalibrationBin
from edupulse_ml.evaluation.stability import Stability

__all__ = ["MIN_STUDENTS", "POOLED", "TOO_FEW", "EvaluationReport", "Figure", "model_title"]

MODEL_TITLES: Final[Mapping[str, str]] = {
    "base_rate": "Base rate",
    "chronic_absence": "Chronic-absence rule",
    "abc_rule": "ABC rule",
    "logistic": "Logistic regression",
    "lightgbm": "LightGBM",
    "mlp_last_week": "Last week only (MLP)",
    "gru": "GRU",
    "boosted": "Boosted trees",
    "ensemble": "Ensemble",
    "rules": "ABC rule (served)",
}
"""Names that a reader knows; a model that is not here is called by its own name."""


def model_title(name: str) -> str:
    """What a report calls the model."""
    return MODEL_TITLES.get(name, name)


@dataclass(frozen=True)
class GroupResult:
    """One model on one task at one landmark. Counts are None where fewer than ten students would be counted."""

    model: str
    task: str
    landmark: str
    n_rows: int | None
    n_students: int | None
    n_events: int | None
    base_rate: float | None
    figures: Mapping[str, Figure]
    """By metric, the names of `metrics.METRICS`; empty where `reason` says why nothing is told."""
    reason: str | None = None


@dataclass(frozen=True)
class PairedDifference:
    """Champion minus rival on the same draws of students. Positive is better for all metrics but `brier`."""

    task: str
    landmark: str
    metric: str
    champion: str
    rival: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class CalibrationCurve:
    """Pooled calibration curve of one model and task."""

    model: str
    task: str
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Pooled precision at rising recall, thinned to about a hundred points."""

    model: str
    task: str
    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True)
class ModelLeadTime:
    """Lead time of one model's weekly scores of one task."""

    model: str
    task: str
    lead_time: LeadTime


@dataclass(frozen=True)
class DataWindow:
    """One part of the data. Days are ISO dates of the first and last cutoff; counts are student-weeks and students."""

    name: str
    first_cutoff: str
    last_cutoff: str
    n_students: int
    n_rows: int


@dataclass(frozen=True)
class TaskInWords:
    """A question as the report states it."""

    name: str
    start_day: int
    end_day: int
    note: str | None = None


@dataclass(frozen=True)
class ReportContext:
    """What a report says beside figures. `created_at` is an ISO moment; `notes` are sentences for the reader."""

    title: str
    champion: str
    created_at: str
    split: str
    windows: tuple[DataWindow, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluationReport:
    """All figures of one evaluation."""

    context: ReportContext
    tasks: tuple[TaskInWords, ...]
    models: tuple[str, ...]
    landmarks: tuple[str, ...]
    groups: tuple[GroupResult, ...]
    differences: tuple[PairedDifference, ...] = ()
    calibration: tuple[CalibrationCurve, ...] = ()
    precision_recall: tuple[PrecisionRecallCurve, ...] = ()
    lead_times: tuple[ModelLeadTime, ...] = ()
    replicates: int = 0
    seed: int = 0
    schema_version: int = field(default=1)
    fairness: Fairness | None = None
    """None where no attribute of the students was given."""
    capacity: tuple[Capacity, ...] = ()
    decision_curve: tuple[DecisionCurve, ...] = ()
    """One per task whose calibration may be read."""
    stability: tuple[Stability, ...] = ()
    generalisation: tuple[Generalisation, ...] = ()
    faithfulness: Faithfulness | None = None
    """Of the champion's reasons; None where they were not tested."""

    def group(self, *, model: str, task: str, landmark: str = POOLED) -> GroupResult:
        """One entry.

        Raises:
            NotFoundError: the report has no such model, task and landmark.
        """
        for group in self.groups:
            if (group.model, group.task, group.landmark) == (model, task, landmark):
                return group
        msg = f"The report holds nothing on model {model}, task {task}, landmark {landmark}."
        raise NotFoundError(msg)

    def figure(self, metric: str, *, model: str, task: str, landmark: str = POOLED) -> Figure:
        """One metric; a figure without value where the group or the metric is not told.

        Raises:
            NotFoundError: the report has no such model, task and landmark.
        """
        group = self.group(model=model, task=task, landmark=landmark)
        return group.figures.get(metric, Figure(None, reason=group.reason))

    def lead_time(self, *, model: str) -> LeadTime | None:
        """Lead time of a model, None where it was not measured."""
        return next((entry.lead_time for entry in self.lead_times if entry.model == model), None)

    def to_json(self) -> str:
        """The report as indented JSON; numbers that do not exist are null."""
        return _ADAPTER.dump_json(self, indent=2).decode() + "\n"

    def joined(self, other: "EvaluationReport") -> "EvaluationReport":
        """This report with the other's tasks added, for tasks that have outcomes of their own.

        Raises:
            InvalidInputError: the models or landmarks differ, or both tell of one task.
        """
        shared = {task.name for task in self.tasks} & {task.name for task in other.tasks}
        if self.models != other.models or self.landmarks != other.landmarks or shared:
            msg = "Reports are joined only if they tell of the same models and landmarks and of different tasks."
            raise InvalidInputError(msg)
        return replace(
            self,
            tasks=self.tasks + other.tasks,
            groups=self.groups + other.groups,
            differences=self.differences + other.differences,
            calibration=self.calibration + other.calibration,
            precision_recall=self.precision_recall + other.precision_recall,
            lead_times=self.lead_times + other.lead_times,
            fairness=_joined_fairness(self.fairness, other.fairness),
            capacity=self.capacity + other.capacity,
            decision_curve=self.decision_curve + other.decision_curve,
            stability=self.stability + other.stability,
            generalisation=self.generalisation + other.generalisation,
            faithfulness=self.faithfulness or other.faithfulness,
        )

    @classmethod
    def from_json(cls, text: str) -> "EvaluationReport":
        """Inverse of `to_json`.

        Raises:
            InvalidInputError: the text is no report of this release.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            msg = f"The file is no evaluation report of this release ({error.error_count()} fields do not fit)."
            raise InvalidInputError(msg) from error


def _joined_fairness(mine: Fairness | None, other: Fairness | None) -> Fairness | None:
    return mine.joined(other) if mine is not None and other is not None else mine or other


_ADAPTER: Final = TypeAdapter(EvaluationReport)
