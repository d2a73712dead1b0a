"""The written limits of the check of the data, read from YAML; unknown keys are refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from edupulse_ml.config.policy_files import PolicySection, parse_policy, read_policy
from edupulse_ml.core.contract import Modality

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Days = Annotated[int, Field(ge=0)]
CheckedTable = Literal["enrollments", "attendance_records", "grades", "transcript", "discipline_incidents"]
UndeliveredTable = Literal["attendance_records", "grades", "transcript", "discipline_incidents"]
WeeklyTable = Literal["attendance_records", "grades", "discipline_incidents"]
_GUIDE: Final = "data-quality.md"


class VolumePolicy(PolicySection):
    """When a school's records of a week are called a fall."""

    tables: Mapping[WeeklyTable, Annotated[int, Field(ge=1)]]
    """Weeks in a row, at least, that make a fall."""
    reference_weeks: Annotated[int, Field(ge=4)]
    """Weeks before, whose median is what was to be expected."""
    fallen_below: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of what was to be expected."""
    chance_below: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Probability (Poisson) of so few records or fewer, below which chance is no explanation."""
    block_tables: Annotated[tuple[WeeklyTable, ...], Field(strict=False)]
    block_share: Share
    """Of the district's student-days of a school year."""


class UndeliveredPolicy(PolicySection):
    """When a school without a single row of a table is told."""

    school_days: Mapping[UndeliveredTable, Days]
    """Days of school with students, up to which none may have come yet."""
    incidents_per_student_day: Annotated[float, Field(gt=0.0, le=1.0)]
    """How many are to be expected, at least, where no school of the district has any."""


class FreshnessLimit(PolicySection):
    """School days without news; `block_school_days` None: never a blocker."""

    warn_school_days: Days
    block_school_days: Days | None


class LatePolicy(PolicySection):
    """Records that come long after what they tell of."""

    days: Mapping[CheckedTable, Days]
    share: Share
    unmarked_days: Days
    unmarked_share: Share


class MissingPolicy(PolicySection):
    """Features that are not known."""

    rise: Share
    school_share: Share
    elsewhere_share: Share
    block: Mapping[Modality, Share]


class ImpossiblePolicy(PolicySection):
    """Rows that cannot be true."""

    block_share: Share
    most_suspension_days: Annotated[float, Field(gt=0)]


class LeaverPolicy(PolicySection):
    """Exits, from which labels are made."""

    p90_delay_days: Days
    unknown_share: Share
    block_unknown_share: Share
    not_returned_share: Share
    """Of the students enrolled to the end of a school year, those enrolled nowhere by the next 1 October."""
    block_not_returned_share: Share
    min_exits: Annotated[int, Field(ge=10)]
    """Exits of a school year below which nothing is told of it."""


class MaterialisationPolicy(PolicySection):
    """Students whose features are not current."""

    block_share: Share


class DataPolicy(PolicySection):
    """Everything that `data_quality.judge_data` asks."""

    version: Annotated[str, Field(min_length=1)]
    volumes: VolumePolicy
    never_delivered: UndeliveredPolicy
    freshness: Mapping[CheckedTable, FreshnessLimit]
    calendar_ends_days: Days
    late: LatePolicy
    missing: MissingPolicy
    impossible: ImpossiblePolicy
    leavers: LeaverPolicy
    not_materialised: MaterialisationPolicy


def load_data_policy(path: Path | None = None) -> DataPolicy:
    """The policy of `path`, or the one that comes with this release.

    Raises:
        InvalidInputError: the file is missing, is no YAML, or a key is unknown, missing or out of range.
    """
    return read_policy(DataPolicy, path, package="edupulse_ml.monitoring", file="data_policy.yaml", guide=_GUIDE)


def parse_data_policy(text: str, *, name: str) -> DataPolicy:
    """The policy that `text` holds; `name` is what messages call it.

    Raises:
        InvalidInputError: as `load_data_policy`.
    """
    return parse_policy(DataPolicy, text, name=name, guide=_GUIDE)
