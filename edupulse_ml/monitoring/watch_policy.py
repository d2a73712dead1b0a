"""From when on a served model's decline is an alarm: the section `monitoring` of the promotion policy."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from edupulse_ml.config.policy_files import PolicySection, fit_policy
from edupulse_ml.evaluation.promotion_policy import load_policy

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
_GUIDE: Final = "monitoring.md"


class DriftPolicy(PolicySection):
    """Features and scores against the training cohort's, in the same weeks of the school year."""

    weeks: Annotated[int, Field(ge=1, le=20)]
    """Latest weeks that are compared together."""
    bins: Annotated[int, Field(ge=2, le=50)]
    psi_above: Positive
    psi_needs_ks: Share
    """Distance that must go with the index: rates of few items move between neighbouring values of a grid."""
    ks_above: Positive
    missing_rise_above: Share
    not_judged: Annotated[tuple[str, ...], Field(strict=False)]
    """Features whose index and distance are told and never an alert."""
    history_days: Annotated[int, Field(ge=0)]
    """Days of training weeks below which features that count earlier school years are told and not judged."""
    chance_below: Annotated[float, Field(gt=0.0, lt=0.5)]
    """Of any false alarm among all features; without it, a large figure is no alert."""
    min_students: Annotated[int, Field(ge=50)]
    """Of either side, below which nothing is told."""
    max_students: Annotated[int, Field(ge=1000)]
    """Students looked at, evenly spread; a larger district tells no more by all of them."""


class OutcomePolicy(PolicySection):
    """Predictions whose time has come, against what happened."""

    days: Annotated[int, Field(ge=180)]
    """How long ago the judged predictions may have been made."""
    auc_fall_above: Share
    calibration_slope: Annotated[tuple[float, float], Field(strict=False)]
    gap_above: Share
    replicates: Annotated[int, Field(ge=100)]


class WatchPolicy(PolicySection):
    """Everything that `edupulse monitor` asks."""

    drift: DriftPolicy
    outcomes: OutcomePolicy


def load_watch_policy(path: Path | None = None) -> tuple[str, WatchPolicy]:
    """Version and `monitoring` section of the policy in `path`, or of the one that comes with this release; that one's
    section also where the file has none.

    Raises:
        InvalidInputError: the file is missing, is no YAML, or a key is unknown, missing or out of range.
    """
    policy = load_policy(path)
    section = policy.monitoring or load_policy().monitoring
    return policy.version, fit_policy(
        WatchPolicy, section, name=f"{path or 'of this release'}, monitoring", guide=_GUIDE
    )
