"""The written policy that a candidate must meet, read from YAML; unknown keys are refused.

Defaults stand in `promotion_policy.yaml` beside this module: sources.md 4.2 (ranking, calibration, fairness), 5.3
(faithfulness) and 6.2 (coarse arithmetic).
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from edupulse_ml.config import policy_files
from edupulse_ml.config.policy_files import PolicySection, read_policy
from edupulse_ml.evaluation.metrics import TOP_SHARES

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Margin = Annotated[float, Field(ge=0.0)]
_FILE: Final = "promotion_policy.yaml"
_GUIDE: Final = "promotion.md"


def _measured_share(share: float) -> float:
    if share not in TOP_SHARES:
        msg = f"lists are measured at {' and '.join(str(known) for known in TOP_SHARES)} only"
        raise ValueError(msg)
    return share


ListShare = Annotated[float, AfterValidator(_measured_share)]


class WorseBy(PolicySection):
    """By how much a candidate may fall behind a rival, in units of the metric."""

    surely_worse_by: Margin
    """Refused if the whole interval of the difference lies below minus this."""
    possibly_worse_by: Margin
    """Refused if the interval's lower end lies below minus this."""


class RankingPolicy(PolicySection):
    """Candidate against champion and LightGBM, on the same rows."""

    metrics: Annotated[tuple[Literal["average_precision", "auc"], ...], Field(min_length=1, strict=False)]
    champion: WorseBy
    lightgbm: WorseBy


class ListPolicy(PolicySection):
    """Candidate against the ABC rule at lists of equal size."""

    shares: Annotated[tuple[ListShare, ...], Field(min_length=1, strict=False)]
    """Shares of the rows that are on a list."""
    advantage_above: float
    """The lower end of the difference in precision must exceed this."""


class EceLimit(PolicySection):
    """Largest calibration error at base rates up to `base_rate_up_to`."""

    base_rate_up_to: Share
    at_most: Share


class CalibrationPolicy(PolicySection):
    """Slope and error of the calibrated scores."""

    slope: Annotated[tuple[float, float], Field(strict=False)]
    ece: Annotated[tuple[EceLimit, ...], Field(min_length=1, strict=False)]

    def ece_limit(self, base_rate: float) -> float | None:
        """The limit at this base rate; None beyond all of them."""
        return next((limit.at_most for limit in self.ece if base_rate <= limit.base_rate_up_to), None)


class FairnessPolicy(PolicySection):
    """Gaps between groups of students in missed leavers and false alarms."""

    gap_at_most: Share
    flagged_share: Share
    """Share of the rows that counts as flagged."""
    min_students: Annotated[int, Field(ge=10)]
    min_events: Annotated[int, Field(ge=1)]
    """Students who left, below which nothing is told of a group's missed leavers."""


class FaithfulnessPolicy(PolicySection):
    """The seven tests of sources.md 5.3; the curves (the seventh) are reported only."""

    students: Annotated[int, Field(ge=10)]
    deletion_gain_at_least: float
    recency_gain_at_least: float
    recency_share_of_attainable: Share
    """What is asked instead, as a share of what an order by occlusion reaches, where that is less."""
    polarity_at_least: Share
    completeness_at_most: Margin
    sanity_at_most: float
    seed_overlap_at_least: Share
    noise_overlap_at_least: Share


class ParityPolicy(PolicySection):
    """What is served against its reference, in probability."""

    exact_at_most: Margin
    coarse_p99_at_most: Margin


class PromotionPolicy(PolicySection):
    """Everything that `gate.judge_candidate` asks. `monitoring` is read by the monitoring package and opaque here."""

    version: Annotated[str, Field(min_length=1)]
    replicates: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    too_few_to_tell: Literal["pass", "refuse"]
    ranking: RankingPolicy
    lists: ListPolicy
    calibration: CalibrationPolicy
    fairness: FairnessPolicy
    faithfulness: FaithfulnessPolicy
    parity: ParityPolicy
    monitoring: dict[str, Any] = Field(default_factory=dict)


def load_policy(path: Path | None = None) -> PromotionPolicy:
    """The policy of `path`, or the one that comes with this release.

    Raises:
        InvalidInputError: the file is missing, is no YAML, or a key is unknown, missing or out of range; the message
            names the keys.
    """
    return read_policy(PromotionPolicy, path, package="edupulse_ml.evaluation", file=_FILE, guide=_GUIDE)


def parse_policy(text: str, name: str) -> PromotionPolicy:
    """The policy that `text` holds; `name` is what messages call it.

    Raises:
        InvalidInputError: as `load_policy`.
    """
    return policy_files.parse_policy(PromotionPolicy, text, name=name, guide=_GUIDE)
