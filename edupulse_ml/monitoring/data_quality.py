"""Judges whether a district's records can be learned from, by counts and a written policy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from edupulse_ml.core.weeks import day_from_number, local_day
from edupulse_ml.monitoring.data_policy import DataPolicy, MaterialisationPolicy
from edupulse_ml.monitoring.feeds import freshness_findings, late_findings
from edupulse_ml.monitoring.findings import DataQualityReport, Finding, count_told, per_cent
from edupulse_ml.monitoring.leavers import leaver_findings
from edupulse_ml.monitoring.missing import missing_findings
from edupulse_ml.monitoring.sequences import impossible_findings
from edupulse_ml.monitoring.undelivered import undelivered_findings
from edupulse_ml.monitoring.volumes import volume_findings
from edupulse_ml.storage.data_checks import ExitCount, FeatureWeek, RecordWeek, SchoolWeek


@dataclass(frozen=True)
class DataCounts:
    """What was counted (`storage.data_checks`); `not_materialised` of `students` lack current features."""

    school_days: Mapping[str, Sequence[date]]
    school_weeks: Sequence[SchoolWeek]
    records: Mapping[str, Sequence[RecordWeek]]
    overlapping: Mapping[str, Mapping[date, int]]
    exits: Sequence[ExitCount]
    features: Sequence[FeatureWeek]
    not_materialised: int
    students: int


def judge_data(
    counts: DataCounts, *, district_id: str, as_of: datetime, zone: ZoneInfo, policy: DataPolicy
) -> DataQualityReport:
    """The report on these counts, blockers first."""
    findings = list(_findings(counts, as_of=as_of, zone=zone, policy=policy))
    findings.sort(key=lambda finding: finding.severity != "blocker")
    return DataQualityReport(district_id, as_of, policy.version, tuple(findings))


def _findings(counts: DataCounts, *, as_of: datetime, zone: ZoneInfo, policy: DataPolicy) -> Iterator[Finding]:
    today = day_from_number(local_day(as_of, zone))
    # Of the week in progress, much is still to come.
    closed = [week for week in counts.school_weeks if week.week + timedelta(days=7) <= today]
    yield from volume_findings(closed, counts.records, policy=policy.volumes)
    yield from undelivered_findings(closed, counts.records, policy=policy)
    yield from freshness_findings(
        counts.school_days, counts.school_weeks, counts.records, as_of=as_of, zone=zone, policy=policy
    )
    yield from late_findings(counts.records, policy=policy)
    yield from missing_findings(counts.features, policy=policy.missing)
    yield from impossible_findings(counts.records, counts.overlapping, policy=policy.impossible)
    yield from leaver_findings(counts.exits, today=today, policy=policy.leavers)
    yield from _not_materialised(counts, policy.not_materialised)


def _not_materialised(counts: DataCounts, policy: MaterialisationPolicy) -> Iterator[Finding]:
    if counts.not_materialised == 0:
        return
    share = counts.not_materialised / counts.students
    yield Finding(
        name="not_materialised.student_features",
        severity="blocker" if share > policy.block_share else "warning",
        message=(
            f"student_features: the weeks of {count_told(counts.not_materialised)} students ({per_cent(share)}) are not"
            " current."
        ),
        advice="Run `edupulse materialise`.",
        figure=share,
        limit=policy.block_share,
    )
