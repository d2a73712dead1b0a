"""Fairness of a model's lists, as the report holds it: figures by group of students, and the surest gap of each figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edupulse_ml.evaluation.figures import Figure

MIN_RATE_STUDENTS: Final = 20
"""A rate of errors speaks of at least so many students (sources.md 4.2: 20 events)."""
NOT_RECORDED: Final = "not recorded"
PAIR: Final = " × "
"""Joins the names of two attributes, and of their groups."""

FAIRNESS_METRICS: Final[tuple[str, ...]] = (
    "fnr",
    "fpr",
    "ppv",
    "selection_rate",
    "share_left",
    "calibration_error",
    "calibration_intercept",
    "calibration_slope",
    "ece",
    "auc",
)
"""Missed leavers, false alarms, precision, share flagged, share that left, mean score minus share that left, and the
calibration and ranking metrics of `metrics.METRICS`; rates are of student-weeks.
"""
GAP_METRICS: Final[tuple[str, ...]] = ("fnr", "fpr", "ppv", "selection_rate", "calibration_error", "auc")


@dataclass(frozen=True)
class GroupFairness:
    """One model on one task in one group, e.g. attribute "sex" and group "female", or "race_ethnicity × sex" and
    "asian × female". Counts are None where too few students would be counted; `reason` says so if nothing is told.
    """

    model: str
    task: str
    attribute: str
    group: str
    n_students: int | None
    n_leavers: int | None
    """Students with at least one student-week that the event followed."""
    figures: Mapping[str, Figure]
    """By metric, the names of `FAIRNESS_METRICS`; empty where `reason` is set."""
    reason: str | None = None


@dataclass(frozen=True)
class GroupGap:
    """Surest difference of a metric between two told groups of an attribute: `higher` minus `lower`, the pair whose
    interval has the highest lower end; where none lies above 0, the widest.

    The interval holds for all pairs at once (normal approximation on resampled students, Bonferroni over the pairs);
    its lower end may be negative. No value and no names where fewer than two groups could be told.
    """

    model: str
    task: str
    attribute: str
    metric: str
    gap: Figure
    higher: str | None = None
    lower: str | None = None


@dataclass(frozen=True)
class Fairness:
    """Errors and calibration by group, on lists that hold the `share_flagged` highest scores of each landmark.

    `not_recorded` names the attributes of which the district gave nothing; "not recorded" as a group means students
    without a value, and takes no part in gaps.
    """

    share_flagged: float
    attributes: tuple[str, ...]
    groups: tuple[GroupFairness, ...]
    gaps: tuple[GroupGap, ...]
    not_recorded: tuple[str, ...] = ()

    def gap(self, metric: str, *, model: str, task: str, attribute: str) -> GroupGap | None:
        """One gap, None where the report has no such entry."""
        wanted = (model, task, attribute, metric)
        return next((g for g in self.gaps if (g.model, g.task, g.attribute, g.metric) == wanted), None)

    def of(self, *, model: str, task: str, attribute: str) -> tuple[GroupFairness, ...]:
        """The groups of one attribute."""
        wanted = (model, task, attribute)
        return tuple(g for g in self.groups if (g.model, g.task, g.attribute) == wanted)

    def joined(self, other: "Fairness") -> "Fairness":
        """This with another task's groups and gaps added."""
        return Fairness(
            self.share_flagged,
            self.attributes,
            self.groups + other.groups,
            self.gaps + other.gaps,
            self.not_recorded,
        )
