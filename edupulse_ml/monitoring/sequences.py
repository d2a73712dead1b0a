"""Rows that cannot be true, by table and by what is wrong with them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Final

from edupulse_ml.monitoring.data_policy import ImpossiblePolicy
from edupulse_ml.monitoring.findings import Finding, count_told, listed, per_cent
from edupulse_ml.storage.data_checks import RecordWeek

WORDING: Final[Mapping[str, str]] = {
    "outside_enrolment": "lie outside of every enrolment of their student",
    "recorded_before_it_happened": "were recorded before they happened",
    "posted_before_handed_in": "have a score from before the work was handed in",
    "scored_before_due": "have a score from before the work was due, though it was not handed in",
    "action_before_incident": "have a sanction from before the incident",
    "suspended_too_long": "suspend for longer than a school year",
    "earned_more_than_attempted": "give more credits than were attempted",
    "exit_before_entry": "end before they begin",
    "attended_outside_enrolment": "have a last day attended outside of the enrolment",
    "enrolled_twice_at_once": "overlap another enrolment of the same student",
    "overlapping_versions": "are versions of one record that hold at the same moment",
}


def impossible_findings(
    records: Mapping[str, Sequence[RecordWeek]],
    overlaps: Mapping[str, Mapping[date, int]],
    *,
    policy: ImpossiblePolicy,
) -> Iterator[Finding]:
    """One finding per table and kind of contradiction; a blocker where too many rows of the table are concerned."""
    for table, of_table in records.items():
        total = sum(record.rows for record in of_table)
        for kind in sorted({name for record in of_table for name in record.impossible}):
            concerned = [record for record in of_table if record.impossible.get(kind)]
            yield from _finding(
                table,
                kind,
                {record.week: record.impossible[kind] for record in concerned},
                rows=sum(record.impossible[kind] for record in concerned),
                total=total,
                schools=tuple(sorted({record.school_id for record in concerned if record.school_id is not None})),
                policy=policy,
            )
        by_week = overlaps.get(table, {})
        yield from _finding(
            table, "overlapping_versions", by_week, rows=sum(by_week.values()), total=total, schools=(), policy=policy
        )


def _finding(
    table: str,
    kind: str,
    by_week: Mapping[date, int],
    *,
    rows: int,
    total: int,
    schools: tuple[str, ...],
    policy: ImpossiblePolicy,
) -> Iterator[Finding]:
    if rows == 0:
        return
    share = rows / max(total, rows)
    most = Counter(by_week).most_common(1)[0][0]
    where = f" at {listed(schools)}" if schools else ""
    yield Finding(
        name=f"impossible.{table}.{kind}",
        severity="blocker" if share > policy.block_share else "warning",
        message=(
            f"{table}: {count_told(rows)} rows ({per_cent(share)}) {WORDING[kind]}{where}, between the weeks of"
            f" {min(by_week)} and {max(by_week)}, most in that of {most}."
        ),
        advice="Correct them at the source and import them again; features count them as they stand.",
        schools=schools,
        first_week=min(by_week),
        last_week=max(by_week),
        figure=share,
        limit=policy.block_share,
    )
