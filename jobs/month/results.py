"""What each step of a month leaves behind: plain data that is kept with the run and told in the report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, Protocol

from pydantic import TypeAdapter, ValidationError

from edupulse_ml.core.errors import ConflictError
from edupulse_ml.evaluation.gate import Verdict
from edupulse_ml.evaluation.report import model_title
from edupulse_ml.monitoring.figures import WatchedFigure
from edupulse_ml.monitoring.findings import Finding, count_told


class UnreadableResultError(ConflictError):
    """A step's result is of another release."""


class StepResult(Protocol):
    """What every step's result can say of itself."""

    @property
    def sentence(self) -> str:
        """What the step has left behind."""
        ...


@dataclass(frozen=True)
class Refreshed:
    """Features: students computed, student-weeks that changed, and the Monday of the last week."""

    students: int
    student_weeks: int
    through_week: date

    @property
    def sentence(self) -> str:
        return (
            f"{count_told(self.students)} students computed, {count_told(self.student_weeks)} student-weeks changed, "
            f"up to the week of {self.through_week}."
        )


@dataclass(frozen=True)
class DataChecked:
    """Records: what was found, and the blockers that somebody answers for, with the reason."""

    policy_version: str
    findings: tuple[Finding, ...]
    ignored: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """What ends the month before training: the blockers that nobody answers for."""
        return tuple(each for each in self.findings if each.severity == "blocker" and each.name not in self.ignored)

    @property
    def sentence(self) -> str:
        warnings = sum(each.severity == "warning" for each in self.findings)
        ignored = f", {len(self.ignored)} ignored ({self.reason})" if self.ignored else ""
        return f"{counted(len(self.blockers), 'blocker').capitalize()}{ignored}, {counted(warnings, 'warning')}."


@dataclass(frozen=True)
class Trained:
    """The candidate. `found_again`: an earlier try had registered it, and was ended before it could say so."""

    version: str
    strategy: str
    found_again: bool = False

    @property
    def sentence(self) -> str:
        again = "; found again after a process was ended" if self.found_again else ""
        return f"Version {self.version} ({model_title(self.strategy)}){again}."


@dataclass(frozen=True)
class ModelFigures:
    """One model on one task of the test year: figures by metric, with intervals, in writing."""

    model: str
    task: str
    figures: Mapping[str, str]


@dataclass(frozen=True)
class Evaluated:
    """The candidate on its test year. `metrics` are named `<task>.<metric>`."""

    model: str
    sentences: tuple[str, ...]
    rows: tuple[ModelFigures, ...]
    metrics: Mapping[str, float]

    @property
    def sentence(self) -> str:
        return "Read back from the version."


@dataclass(frozen=True)
class Gated:
    """What became of the candidate. `champion` is served now (None: nothing is, because a refusal found no champion);
    `verdict` None: it is the first, and nothing was judged.
    """

    kind: Literal["first", "promoted", "refused"]
    candidate: str
    champion_before: str | None
    champion: str | None
    verdict: Verdict | None

    @property
    def sentence(self) -> str:
        return {"first": "There was no champion.", "promoted": "Promoted.", "refused": "Refused."}[self.kind]


@dataclass(frozen=True)
class Scored:
    """The district's new scores: by which version, how many students, and how many had too little data. `version` None:
    the champion is the one that the district was scored with last, and new scores were asked for only if it changed.
    """

    version: str | None
    scored: int = 0
    insufficient: int = 0

    @property
    def sentence(self) -> str:
        if self.version is None:
            return "Left out: the champion has not changed since the last scores."
        return (
            f"{count_told(self.scored)} students scored with version {self.version}, {count_told(self.insufficient)} "
            "without enough data."
        )


@dataclass(frozen=True)
class Monitored:
    """What the monitoring of the champion showed: its alerts among `figures` figures, by which policy, and its page (None:
    the champion had been monitored earlier that day, and the page is there already).
    """

    version: str
    policy_version: str
    figures: int
    alerts: tuple[WatchedFigure, ...]
    page: str | None

    @property
    def sentence(self) -> str:
        return f"Version {self.version}: {counted(len(self.alerts), 'alert')} among {self.figures} figures."


@dataclass(frozen=True)
class Reported:
    """Folder of report.html and report.json, as an absolute path on the machine that wrote them."""

    folder: str

    @property
    def sentence(self) -> str:
        return "Written."


_ADAPTERS: Final[dict[type, TypeAdapter[Any]]] = {}


def counted(number: int, noun: str) -> str:
    """`no rules`, `1 rule`, `2 rules`."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def to_stored(result: StepResult) -> Mapping[str, Any]:
    """A step's result as JSON can hold it; numbers that do not exist are null."""
    return json.loads(_adapter(type(result)).dump_json(result))


def from_stored(kind: type, stored: Mapping[str, Any]) -> StepResult:
    """Inverse of `to_stored`.

    Raises:
        UnreadableResultError: it was stored by another release.
    """
    try:
        return _adapter(kind).validate_json(json.dumps(stored))
    except ValidationError as error:
        raise UnreadableResultError(
            f"A step of this month was done by another release ({error.error_count()} fields do not fit): its report tells"
            " of it; --again runs the month anew."
        ) from error


def _adapter(kind: type) -> TypeAdapter[Any]:
    return _ADAPTERS.setdefault(kind, TypeAdapter(kind))
