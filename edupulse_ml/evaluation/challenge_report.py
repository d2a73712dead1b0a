"""What a challenge has shown so far: champion and challenger on the same students, and the outcomes of the two arms."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from edupulse_ml.core.outcomes import LABEL_UNKNOWN
from edupulse_ml.evaluation.figures import MIN_STUDENTS, TOO_FEW, Figure
from edupulse_ml.evaluation.metrics import TOP_SHARES, capacity, measure
from edupulse_ml.evaluation.sequential import Evidence, mean_evidence, share_evidence

Float64 = NDArray[np.float64]
Labels = NDArray[np.int8]

OUTCOME_METRICS: Final = ("auc", "average_precision", "brier", "ece", "calibration_slope", "calibration_intercept")
MEAN_SCORE, SHARE_LEFT = "mean_score", "share_left"
CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class PairRows:
    """S students whom both scored at the same moment, once each, in the order of their cutoffs. `label` is
    `LABEL_UNKNOWN` until the task's interval is over.
    """

    champion: Float64
    challenger: Float64
    same_category: NDArray[np.bool_]
    label: Labels


@dataclass(frozen=True)
class ArmRows:
    """S students who were answered while students were split, once each, in the order of their cutoffs. `share` is the
    part of the students that the challenger's arm held when the student came into the challenge; `others` counts the
    student's answers that the other arm's model gave.
    """

    in_challenger: NDArray[np.bool_]
    share: Float64
    score: Float64
    label: Labels
    answers: NDArray[np.int64]
    others: NDArray[np.int64]


@dataclass(frozen=True)
class ModelFigures:
    """`OUTCOME_METRICS`, the mean score and the share that left, on students whose outcome is known."""

    n_students: int | None
    """None: fewer than ten."""
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class ShadowReport:
    """Both models on the same students. `brier_gain`: the champion's squared error less the challenger's; positive, the
    challenger predicts better. None: fewer than ten students left, or stayed.
    """

    n_students: int
    same_category: Figure
    rank_correlation: Figure
    list_overlap: Mapping[str, Figure]
    models: Mapping[str, ModelFigures]
    brier_gain: Evidence | None


@dataclass(frozen=True)
class ArmReport:
    """The arms as they were drawn, whoever answered. `leavers_in_challenger`: whether those who left were in the
    challenger's arm more (positive) or less (negative) often than the draw explains.
    """

    n_students: Mapping[str, int | None]
    answers_by_other: Mapping[str, Figure]
    models: Mapping[str, ModelFigures]
    leavers_in_challenger: Evidence | None


@dataclass(frozen=True)
class ChallengeReport:
    """`champions`: the versions that answered as champion and are compared with, the earliest first; none where nobody was
    asked about. `counted_until`: the moment from which answers do not count, because another one became the champion:
    the challenger, or a version that answers another question; None: all count. The weights are the shares (0-1) in
    force, or before the end. `shadow` and `arms` are None where fewer than ten students were asked about.
    """

    challenge_id: str
    challenger: str
    champions: tuple[str, ...]
    begun_at: str
    counted_until: str | None
    created_at: str
    horizon_days: int
    is_over: bool
    shadow_weight: float
    split_weight: float
    shadow: ShadowReport | None
    arms: ArmReport | None

    def to_json(self) -> str:
        """The report as indented JSON; numbers that cannot be told are null with a reason."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False)


def shadow_report(rows: PairRows) -> ShadowReport | None:
    """None with fewer than ten students."""
    n = len(rows.label)
    if n < MIN_STUDENTS:
        return None
    known = rows.label != LABEL_UNKNOWN
    label, champion, challenger = rows.label[known], rows.champion[known], rows.challenger[known]
    told = _tellable(label)
    error_gain = (champion - label) ** 2 - (challenger - label) ** 2
    return ShadowReport(
        n_students=n,
        same_category=Figure(float(rows.same_category.mean())),
        rank_correlation=_rank_correlation(rows.champion, rows.challenger),
        list_overlap={
            f"top{round(100 * share)}": _overlap(rows.champion, rows.challenger, share) for share in TOP_SHARES
        },
        models={CHAMPION: model_figures(label, champion), CHALLENGER: model_figures(label, challenger)},
        brier_gain=mean_evidence(error_gain) if told else None,
    )


def arm_report(rows: ArmRows) -> ArmReport | None:
    """None with fewer than ten students."""
    if len(rows.label) < MIN_STUDENTS:
        return None
    known = rows.label != LABEL_UNKNOWN
    members = {CHAMPION: ~rows.in_challenger, CHALLENGER: rows.in_challenger}
    # Students who came while an arm had everybody were not drawn, and cannot tell of the draw.
    left = known & (rows.label == 1) & (rows.share > 0.0) & (rows.share < 1.0)
    told = all(_tellable(rows.label[known & own]) for own in members.values())
    return ArmReport(
        n_students={arm: _count(own) for arm, own in members.items()},
        answers_by_other={arm: _by_other(rows, own) for arm, own in members.items()},
        models={arm: model_figures(rows.label[known & own], rows.score[known & own]) for arm, own in members.items()},
        leavers_in_challenger=share_evidence(rows.in_challenger[left], rows.share[left]) if told else None,
    )


def model_figures(label: Labels, score: Float64) -> ModelFigures:
    """Figures of one model; none where fewer than ten of the students left, or stayed."""
    n = len(label)
    if not _tellable(label):
        hidden = {name: Figure(None, reason=TOO_FEW) for name in (MEAN_SCORE, SHARE_LEFT, *OUTCOME_METRICS)}
        return ModelFigures(n if n >= MIN_STUDENTS else None, hidden)
    measured = measure(label, score)
    figures = {MEAN_SCORE: Figure(float(score.mean())), SHARE_LEFT: Figure(float(label.mean()))}
    for name in OUTCOME_METRICS:
        value, reason = measured[name].value, measured[name].reason
        figures[name] = Figure(None, reason=reason) if math.isnan(value) else Figure(value)
    return ModelFigures(n, figures)


def _tellable(label: Labels) -> bool:
    left = int(label.sum())
    return left >= MIN_STUDENTS and len(label) - left >= MIN_STUDENTS


def _count(members: NDArray[np.bool_]) -> int | None:
    n = int(members.sum())
    return n if n >= MIN_STUDENTS else None


def _by_other(rows: ArmRows, own: NDArray[np.bool_]) -> Figure:
    if _count(own) is None:
        return Figure(None, reason=TOO_FEW)
    return Figure(float(rows.others[own].sum() / rows.answers[own].sum()))


def _rank_correlation(first: Float64, second: Float64) -> Figure:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return Figure(None, reason="all scores are equal")
    return Figure(float(np.corrcoef(rankdata(first), rankdata(second))[0, 1]))


def _overlap(first: Float64, second: Float64, share: float) -> Figure:
    """Students on both lists, of those on either; ties go to who comes first, which is the same for both."""
    places = capacity(len(first), share)
    if places < MIN_STUDENTS:
        return Figure(None, reason=TOO_FEW)
    lists = [set(np.argsort(-scores, kind="stable")[:places].tolist()) for scores in (first, second)]
    return Figure(len(lists[0] & lists[1]) / len(lists[0] | lists[1]))
