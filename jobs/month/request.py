"""What a month is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

from edupulse_ml.core.errors import InvalidInputError
from jobs.check_data import NOTHING_IGNORED, IgnoredBlockers

Rescore = Literal["always", "changed"]
"""Score the district each month, or only if the champion has changed since it was last scored."""

MAY_DIFFER: Final = frozenset({"rescore", "ignored_data_blockers"})
"""Parameters that may be others when an unfinished month is gone on with: what is done is true all the same."""
COMMAND: Final = "edupulse monthly"
"""Who decides, in the audit trail."""


@dataclass(frozen=True)
class CandidateOptions:
    """How the candidate is trained; see `jobs.train.TrainingRequest`. `workers` 0: in this process."""

    strategy: str
    seeds: int
    epochs: int
    seed: int
    workers: int
    gpu: bool
    replicates: int
    allow_small: bool


@dataclass(frozen=True)
class MonthRequest:
    """`month` None: the district's present one. `policy` None: the promotion policy that the settings name when a step
    comes to it, else the one of this release.
    """

    candidate: CandidateOptions
    month: date | None = None
    again: bool = False
    rescore: Rescore = "always"
    policy: Path | None = None
    ignored: IgnoredBlockers = NOTHING_IGNORED

    def parameters(self) -> Mapping[str, object]:
        """What is kept with the run."""
        return {
            **vars(self.candidate),
            "rescore": self.rescore,
            "policy": None if self.policy is None else str(self.policy),
            **self.ignored.as_tags(),
        }


def first_day(month: date | None, *, now: datetime, zone: ZoneInfo) -> date:
    """The first day of the month asked for, or of the one that it is in the district.

    Raises:
        InvalidInputError: it has not begun.
    """
    present = now.astimezone(zone).date().replace(day=1)
    asked = present if month is None else month.replace(day=1)
    if asked > present:
        raise InvalidInputError(f"{asked:%Y-%m} has not begun: run the month {present:%Y-%m} or an earlier one.")
    return asked
