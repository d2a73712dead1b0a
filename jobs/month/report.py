"""The report of a month as plain data: what happened, what was found, what was decided, and what has changed since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter

from edupulse_ml.monitoring.findings import count_told
from edupulse_ml.storage.monthly_runs import MonthlyStep, MonthOutcome
from jobs.month.results import DataChecked, Evaluated, Gated, Monitored, Scored, counted
from jobs.month.running import Month

_COMPARED: Final = {"auc": "ROC-AUC", "average_precision": "Average precision"}


@dataclass(frozen=True)
class StepTold:
    """One step: what it left in a sentence, how long its last try took, and how often it was begun."""

    title: str
    sentence: str
    seconds: float
    tries: int


@dataclass(frozen=True)
class MonthReport:
    """Everything that the page of a month says. No student is named, and no count below ten is told."""

    district: str
    month: str
    number: int
    began: datetime
    written: datetime
    outcome: MonthOutcome
    headline: str
    steps: tuple[StepTold, ...]
    changes: tuple[str, ...]
    data: DataChecked | None
    evaluated: Evaluated | None
    gated: Gated | None
    monitored: Monitored | None

    def to_json(self) -> str:
        """The report as indented JSON; numbers that do not exist are null."""
        return _ADAPTER.dump_json(self, indent=2).decode() + "\n"


_ADAPTER: Final = TypeAdapter(MonthReport)


def make_report(
    month: Month,
    *,
    district: str,
    outcome: MonthOutcome,
    titles: Mapping[str, str],
    steps: Mapping[str, MonthlyStep],
    before: Month | None,
    written: datetime,
) -> MonthReport:
    """The report of the steps done so far. `titles` names the steps, `before` is the last month that was run to its end."""
    return MonthReport(
        district=district,
        month=f"{month.run.month:%Y-%m}",
        number=month.run.number,
        began=month.run.started_at,
        written=written,
        outcome=outcome,
        headline=headline(month),
        steps=tuple(
            StepTold(titles[name], result.sentence, _seconds(steps[name]), steps[name].tries)
            for name, result in month.results.items()
        ),
        changes=tuple(changes(month, before)),
        data=month.find(DataChecked),
        evaluated=month.find(Evaluated),
        gated=month.find(Gated),
        monitored=month.find(Monitored),
    )


def headline(month: Month) -> str:
    """What came of the month, in one sentence."""
    gated, checked = month.find(Gated), month.find(DataChecked)
    if gated is None:
        blockers = 0 if checked is None else len(checked.blockers)
        return f"No model was trained: the records have {counted(blockers, 'blocker')}."
    match gated.kind:
        case "first":
            return f"Version {gated.candidate} is the district's first champion."
        case "promoted":
            return f"Version {gated.candidate} is the champion now, in place of version {gated.champion_before}."
        case "refused":
            failed = () if gated.verdict is None else gated.verdict.failed
            return (
                f"Version {gated.candidate} was refused: {counted(len(failed), 'rule')} of the policy not met. "
                f"Version {gated.champion} stays the champion."
            )


def changes(month: Month, before: Month | None) -> Sequence[str]:
    """What is otherwise than in the last month that was run to its end, one sentence each."""
    if before is None:
        return ["There is no earlier month to compare with."]
    if not before.results:
        return [f"{before.run.month:%Y-%m} was run by another release and is not compared with."]
    return [
        f"Compared with {before.run.month:%Y-%m}:",
        *_champion_change(month, before),
        *_figure_changes(month.find(Evaluated), before.find(Evaluated)),
        *_count_changes(month.find(Scored), before.find(Scored)),
        *_finding_changes(month.find(DataChecked), before.find(DataChecked)),
        *_alert_changes(month.find(Monitored), before.find(Monitored)),
    ]


def _champion_change(month: Month, before: Month) -> Sequence[str]:
    now, then = month.find(Gated), before.find(Gated)
    if now is None or then is None:
        return []
    if now.champion == then.champion:
        return [f"The champion is still version {now.champion}."]
    return [f"The champion was version {then.champion} and is version {now.champion}."]


def _figure_changes(now: Evaluated | None, then: Evaluated | None) -> Sequence[str]:
    if now is None or then is None:
        return []
    found = []
    for name, value in now.metrics.items():
        task, _, metric = name.rpartition(".")
        if metric in _COMPARED and name in then.metrics:
            found.append(
                f"{_COMPARED[metric]} of {task}: the candidate has {value:.3f}, that month's had {then.metrics[name]:.3f}, "
                "each on its own test people."
            )
    return found


def _count_changes(now: Scored | None, then: Scored | None) -> Sequence[str]:
    if now is None or then is None or now.version is None or then.version is None:
        return []
    return [f"{count_told(now.scored)} students scored, {count_told(then.scored)} then."]


def _finding_changes(now: DataChecked | None, then: DataChecked | None) -> Sequence[str]:
    if now is None or then is None:
        return []
    here, there = ({finding.name for finding in each.findings} for each in (now, then))
    new, gone = sorted(here - there), sorted(there - here)
    return [
        *([f"New in the records: {', '.join(new)}."] if new else []),
        *([f"No longer found in the records: {', '.join(gone)}."] if gone else []),
    ]


def _alert_changes(now: Monitored | None, then: Monitored | None) -> Sequence[str]:
    if now is None or then is None:
        return []
    here, there = ({f"{alert.kind} of {alert.subject}" for alert in each.alerts} for each in (now, then))
    new, gone = sorted(here - there), sorted(there - here)
    return [
        *([f"New alerts: {', '.join(new)}."] if new else []),
        *([f"Alerts that are over: {', '.join(gone)}."] if gone else []),
    ]


def _seconds(step: MonthlyStep) -> float:
    return 0.0 if step.finished_at is None else round((step.finished_at - step.started_at).total_seconds(), 1)
