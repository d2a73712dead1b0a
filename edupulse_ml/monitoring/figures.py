"""One run of the monitoring: its figures, their limits, and the alerts among them with what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal

FigureKind = Literal[
    "psi", "ks", "missing", "score_psi", "score_mean", "auc", "average_precision", "calibration_slope", "ece", "fnr_gap",
    "fpr_gap",
]  # fmt: skip

TITLES: Final[Mapping[FigureKind, str]] = {
    "psi": "Stability index of a feature",
    "ks": "Kolmogorov-Smirnov distance of a feature",
    "missing": "Share of student-weeks that lack a feature, less the training cohort's",
    "score_psi": "Stability index of the scores",
    "score_mean": "Mean score",
    "auc": "ROC-AUC on outcomes",
    "average_precision": "Average precision on outcomes",
    "calibration_slope": "Calibration slope on outcomes",
    "ece": "Calibration error on outcomes",
    "fnr_gap": "Surest gap in missed leavers between groups",
    "fpr_gap": "Surest gap in false alarms between groups",
}
ADVICE: Final[Mapping[FigureKind, str]] = {
    "psi": "Ask what changed: a rule of recording, a feed, or the students. If the students, train on the newer years.",
    "ks": "As for the stability index; the distance shows changes within a bin.",
    "missing": "Run `edupulse check-data`: something is not delivered any more. Mend the feed before training.",
    "score_psi": "Look at the features with the highest index; until it is clear why, read the list with care.",
    "score_mean": "Compare with the share that leaves once outcomes are known.",
    "auc": "Train on newer years (`edupulse train`); the promotion policy decides whether the new model is better.",
    "average_precision": "As for the ROC-AUC.",
    "calibration_slope": "The scores are no probabilities any more: train again, which calibrates on the later cohort.",
    "ece": "As for the calibration slope.",
    "fnr_gap": "Some group's leavers are missed more often: look at the groups' figures, and audit the features it lacks.",
    "fpr_gap": "Some group is flagged in vain more often: look at the groups' figures before the list is used.",
}


@dataclass(frozen=True)
class WatchedFigure:
    """One figure. `subject` is a feature, a task, or `<task>:<attribute>`. `value` None: `note` says why. `n` are the
    students behind it; `chance` the probability that nothing has changed, adjusted for the number of features (None: the
    figure is judged by its interval, or not at all). `limit` None: the figure is told, never an alert.
    """

    kind: FigureKind
    subject: str
    value: float | None
    limit: float | None = None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    chance: float | None = None
    n: int | None = None
    is_alert: bool = False
    note: str | None = None

    @property
    def advice(self) -> str:
        """What to do if it is an alert."""
        return ADVICE[self.kind]


@dataclass(frozen=True)
class WatchReport:
    """What was seen on one day. The weeks (Mondays) are those whose features and scores were compared with the weeks of
    the same number in the training cohort's years; None where nothing could be compared.
    """

    district_id: str
    day: date
    as_of: datetime
    model_version: str
    policy_version: str
    first_week: date | None
    last_week: date | None
    figures: tuple[WatchedFigure, ...]

    @property
    def alerts(self) -> tuple[WatchedFigure, ...]:
        return tuple(figure for figure in self.figures if figure.is_alert)

    def of(self, *kinds: FigureKind) -> tuple[WatchedFigure, ...]:
        """The figures of these kinds, in their order."""
        return tuple(figure for figure in self.figures if figure.kind in kinds)

    def figure(self, kind: FigureKind, subject: str) -> WatchedFigure | None:
        """One figure, None where there is none."""
        return next((figure for figure in self.figures if (figure.kind, figure.subject) == (kind, subject)), None)
