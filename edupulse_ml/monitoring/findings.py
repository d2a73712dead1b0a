"""What the check of the data found: sentences with tables, schools and weeks, never a student."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Final, Literal

from edupulse_ml.core.errors import ConflictError

Severity = Literal["blocker", "warning"]
_FEWEST_TOLD: Final = 10
"""Counts below this are not told: they could describe one child."""


class DataBlockedError(ConflictError):
    """The records do not meet the policy; training on them would teach a model what is not so."""

    title = "Records not fit to learn from"


@dataclass(frozen=True)
class Finding:
    """One thing found. `name` is `<check>.<table or feature>`; `schools` empty: the whole district; the two weeks are
    Mondays, None where the finding is not about weeks. `figure` and `limit` are in the unit that `message` names.
    """

    name: str
    severity: Severity
    message: str
    advice: str
    schools: tuple[str, ...] = ()
    first_week: date | None = None
    last_week: date | None = None
    figure: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class DataQualityReport:
    """All findings on a district's records as they were known at `as_of`, blockers first."""

    district_id: str
    as_of: datetime
    policy_version: str
    findings: tuple[Finding, ...]

    @property
    def blockers(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "blocker")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def require_fit(self, *, ignoring: Collection[str] = ()) -> None:
        """Return if there is no blocker but those named in `ignoring`.

        Raises:
            DataBlockedError: there is; the message holds every one with its advice.
        """
        left = [finding for finding in self.blockers if finding.name not in ignoring]
        if left:
            told = "\n".join(f"{finding.name}: {finding.message} {finding.advice}" for finding in left)
            raise DataBlockedError(
                f"The records of district {self.district_id} are not fit to learn from:\n{told}\nMend them and import"
                " again, or train all the same with --ignore-blocker NAME --reason WHY, which is kept with the model."
            )

    def to_dict(self) -> dict[str, object]:
        """The report as JSON can hold it."""
        return {
            "district_id": self.district_id,
            "as_of": self.as_of.isoformat(),
            "policy_version": self.policy_version,
            "findings": [
                {
                    name: value.isoformat() if isinstance(value, date) else value
                    for name, value in asdict(finding).items()
                }
                for finding in self.findings
            ],
        }


def count_told(n: int) -> str:
    """A count in words that tells of no single student."""
    return f"{n:,}" if n >= _FEWEST_TOLD else f"fewer than {_FEWEST_TOLD}"


def per_cent(share: float) -> str:
    """A share as it is read, one digit below 10 %."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence; more than six are counted."""
    shown = 6
    text = ", ".join(names[:shown])
    return text if len(names) <= shown else f"{text} and {len(names) - shown} more"
