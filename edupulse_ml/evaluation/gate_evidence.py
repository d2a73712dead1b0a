"""What is known of a candidate before it is judged: figures with their intervals, measured on one set of rows."""

from dataclasses import dataclass
from typing import Literal

from edupulse_ml.evaluation.faithfulness import Faithfulness
from edupulse_ml.evaluation.report import Figure

Opponent = Literal["champion", "lightgbm"]
ErrorKind = Literal["missed leavers", "false alarms"]


@dataclass(frozen=True)
class RankingComparison:
    """One metric of one task; `difference` is candidate minus opponent on the same draws of students."""

    opponent: Opponent
    task: str
    metric: str
    candidate: float | None
    other: float | None
    difference: Figure


@dataclass(frozen=True)
class ListComparison:
    """Share of leavers on lists that hold `share` of the rows; `difference` is candidate minus ABC rule."""

    task: str
    share: float
    candidate: float | None
    rule: float | None
    difference: Figure


@dataclass(frozen=True)
class CalibrationFigures:
    """Calibration of one task. `base_rate` None: too few students to say."""

    task: str
    base_rate: float | None
    slope: Figure
    ece: Figure


@dataclass(frozen=True)
class FairnessGap:
    """The pair of groups of one attribute whose gap in an error rate is surest: `higher` errs more often than `lower`.

    `gap` has no value, and the groups are None, where fewer than two groups are large enough; the reason says so.
    """

    attribute: str
    error: ErrorKind
    higher: str | None
    lower: str | None
    gap: Figure


@dataclass(frozen=True)
class Parity:
    """Served scores against the reference's on the same rows. `is_coarse`: the folder has settled on coarser arithmetic
    than the reference's; `p99` is the difference that the risk scores of 99 of 100 rows stay below.
    """

    served: str
    reference: str
    largest: float
    p99: float
    is_coarse: bool = False


@dataclass(frozen=True)
class GateEvidence:
    """Everything that a verdict rests on.

    `champion` None: there is none yet. `champion_problem` says why a champion could not be measured on these rows.
    `n_left_out` students were not judged because a compared model has learned from them.
    """

    candidate: str
    champion: str | None
    n_rows: int
    n_students: int
    ranking: tuple[RankingComparison, ...]
    lists: tuple[ListComparison, ...]
    calibration: tuple[CalibrationFigures, ...]
    fairness: tuple[FairnessGap, ...]
    faithfulness: Faithfulness
    parity: Parity
    champion_problem: str | None = None
    n_left_out: int = 0
