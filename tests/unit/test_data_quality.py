"""Each check of the data on counts written out: found when it is there, silent when it is not."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import yaml

from edupulse_ml.core.contract import FEATURE_INDEX, FEATURE_NAMES
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.monitoring.data_policy import load_data_policy, parse_data_policy
from edupulse_ml.monitoring.data_quality import DataCounts, judge_data
from edupulse_ml.monitoring.findings import DataBlockedError, count_told
from edupulse_ml.storage.data_checks import ExitCount, FeatureWeek, RecordWeek, SchoolWeek
from jobs.check_data import IgnoredBlockers

ZONE = ZoneInfo("America/New_York")
MONDAY = date(2025, 9, 1)
WEEKS = [MONDAY + timedelta(days=7 * week) for week in range(20)]
SCHOOLS = ("east", "west")
NOW = datetime(2026, 1, 17, 12, tzinfo=UTC)
"""A Saturday; the last school day was the day before."""

POLICY = load_data_policy()
STUDENTS = 400


def recorded(week: date) -> datetime:
    return datetime(week.year, week.month, week.day, 20, tzinfo=UTC) + timedelta(days=4)


def records(per_week: int, **rest) -> list[RecordWeek]:
    about = {"late": 0, "missing": {}, "impossible": {}} | rest
    return [RecordWeek(school, week, per_week, recorded(week), **about) for school in SCHOOLS for week in WEEKS]


def sound() -> DataCounts:
    return DataCounts(
        school_days={school: [week + timedelta(days=day) for week in WEEKS for day in range(5)] for school in SCHOOLS},
        school_weeks=[SchoolWeek(school, week, 2025, 5, 5 * STUDENTS, 0) for school in SCHOOLS for week in WEEKS],
        records={
            "enrollments": records(STUDENTS),
            "attendance_records": records(5 * STUDENTS),
            "grades": records(3 * STUDENTS),
            "discipline_incidents": records(12),
        },
        overlapping={},
        exits=[],
        features=[
            FeatureWeek(school, week, 2025, STUDENTS, (20,) * len(FEATURE_NAMES))
            for school in SCHOOLS
            for week in WEEKS
        ],
        not_materialised=0,
        students=2 * STUDENTS,
    )


def judged(counts: DataCounts, **policy):
    limits = POLICY.model_copy(update=policy)
    return judge_data(counts, district_id="demo", as_of=NOW, zone=ZONE, policy=limits)


def found(counts: DataCounts) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(finding.severity, finding.name, finding.schools) for finding in judged(counts).findings]


def changed(counts: DataCounts, table: str, change) -> DataCounts:
    return replace(counts, records={**counts.records, table: [change(record) for record in counts.records[table]]})


def weeks_of(counts: DataCounts) -> tuple[date | None, date | None]:
    (finding,) = judged(counts).findings
    return finding.first_week, finding.last_week


def test_sound_records_have_no_findings() -> None:
    assert found(sound()) == []
    judged(sound()).require_fit()


def test_a_school_that_stops_delivering_is_named_with_its_weeks() -> None:
    silent = {("west", week) for week in WEEKS[10:13]}

    def change(record: RecordWeek) -> RecordWeek:
        return replace(record, rows=0) if (record.school_id, record.week) in silent else record

    counts = changed(sound(), "discipline_incidents", change)
    assert found(counts) == [("warning", "volume.discipline_incidents", ("west",))]
    assert weeks_of(counts) == (WEEKS[10], WEEKS[12])


def test_one_quiet_week_of_rare_events_is_chance() -> None:
    def change(record: RecordWeek) -> RecordWeek:
        return replace(record, rows=4) if record.week == WEEKS[10] else record

    assert found(changed(sound(), "discipline_incidents", change)) == []


def test_a_short_week_is_no_fall_and_a_gap_in_delivery_is() -> None:
    counts = sound()
    short = [
        replace(week, school_days=1, student_days=STUDENTS) if week.week == WEEKS[12] else week
        for week in counts.school_weeks
    ]

    def change(record: RecordWeek) -> RecordWeek:
        return replace(record, rows=STUDENTS) if record.week == WEEKS[12] else record

    assert found(replace(changed(counts, "attendance_records", change), school_weeks=short)) == []
    assert found(changed(counts, "attendance_records", change)) == [("warning", "volume.attendance_records", SCHOOLS)]


def test_schools_are_told_of_together_where_the_same_weeks_fell() -> None:
    low = {("east", WEEKS[10]): 0, ("west", WEEKS[10]): STUDENTS, ("west", WEEKS[14]): STUDENTS}

    def change(record: RecordWeek) -> RecordWeek:
        return replace(record, rows=low.get((record.school_id, record.week), record.rows))

    together, alone = judged(changed(sound(), "attendance_records", change)).findings
    assert (together.schools, together.first_week) == (SCHOOLS, WEEKS[10])
    assert "10% of the rows came" in together.message
    assert "at east, west." in together.message
    assert (alone.schools, alone.first_week) == (("west",), WEEKS[14])


def test_the_week_in_progress_is_no_fall() -> None:
    def change(record: RecordWeek) -> RecordWeek:
        return replace(record, rows=0) if record.week == WEEKS[-1] else record

    counts = changed(sound(), "attendance_records", change)
    assert found(counts) == []
    on_monday = judge_data(counts, district_id="demo", as_of=NOW + timedelta(days=2), zone=ZONE, policy=POLICY)
    assert {finding.name for finding in on_monday.findings} == {"volume.attendance_records"}


def test_attendance_that_is_missing_for_a_tenth_of_the_year_is_a_blocker() -> None:
    def change(record: RecordWeek) -> RecordWeek:
        return replace(record, rows=0) if record.week in WEEKS[8:11] else record

    counts = changed(sound(), "attendance_records", change)
    assert found(counts) == [("blocker", "volume.attendance_records", SCHOOLS)]
    report = judged(counts)
    with pytest.raises(DataBlockedError, match="far fewer rows"):
        report.require_fit()
    report.require_fit(ignoring=("volume.attendance_records",))


def test_a_declared_gap_is_told_and_is_no_fall() -> None:
    counts = sound()
    silent = set(WEEKS[10:14])

    def change(record: RecordWeek) -> RecordWeek:
        return replace(record, rows=0) if record.school_id == "east" and record.week in silent else record

    declared = [
        replace(week, undeclared_days=5) if week.school_id == "east" and week.week in silent else week
        for week in counts.school_weeks
    ]
    counts = replace(changed(counts, "discipline_incidents", change), school_weeks=declared)
    assert found(counts) == [("warning", "declared_gap.discipline_incidents", ("east",))]
    assert weeks_of(counts) == (WEEKS[10], WEEKS[13])


def without(counts: DataCounts, table: str, *schools: str) -> DataCounts:
    kept = [record for record in counts.records[table] if record.school_id not in schools]
    return replace(counts, records={**counts.records, table: kept})


def of_length(counts: DataCounts, weeks: int) -> DataCounts:
    """Twenty weeks of school count as `weeks`, each of them with as much less or more in it."""
    times = weeks / len(WEEKS)
    school_weeks = [
        replace(week, school_days=round(5 * times), student_days=round(5 * STUDENTS * times))
        for week in counts.school_weeks
    ]
    records = {
        table: [replace(record, rows=round(record.rows * times)) for record in of_table]
        for table, of_table in counts.records.items()
    }
    return replace(counts, school_weeks=school_weeks, records=records)


def test_a_table_that_never_came_is_one_finding_with_its_schools() -> None:
    assert found(without(sound(), "grades", "west")) == [("warning", "never_delivered.grades", ("west",))]
    counts = sound()
    report = judged(replace(counts, records={**counts.records, "grades": []}))
    (never,) = report.findings
    assert (never.severity, never.name, never.schools) == ("warning", "never_delivered.grades", SCHOOLS)
    assert (never.first_week, never.last_week, never.figure, never.limit) == (WEEKS[0], WEEKS[-2], 95, 15)
    assert "in up to 95 days of school at east, west (2 of 2 schools)" in never.message
    others = {table: of_table for table, of_table in counts.records.items() if table != "grades"}
    assert found(replace(counts, records=others)) == [("warning", "never_delivered.grades", SCHOOLS)]


def test_attendance_that_never_came_is_a_blocker_where_many_student_days_are_without_it() -> None:
    counts = without(sound(), "attendance_records", "west")
    (never,) = judged(counts).findings
    assert (never.severity, never.name, never.schools) == ("blocker", "never_delivered.attendance_records", ("west",))
    assert (never.figure, never.limit) == (0.5, 0.1)
    assert "50% of the district's student-days of 2025-2026" in never.message
    with pytest.raises(DataBlockedError, match="never arrived"):
        judged(counts).require_fit()
    judged(counts).require_fit(ignoring=("never_delivered.attendance_records",))
    small = [replace(week, student_days=150) if week.school_id == "west" else week for week in counts.school_weeks]
    assert found(replace(counts, school_weeks=small)) == [("warning", "never_delivered.attendance_records", ("west",))]


def test_a_school_has_days_until_its_first_rows_come_and_one_without_students_needs_none() -> None:
    counts = without(sound(), "attendance_records", "west")

    def attended(weeks: list[date]) -> DataCounts:
        at_west = [
            replace(week, student_days=week.student_days if week.week in weeks else 0)
            for week in counts.school_weeks
            if week.school_id == "west"
        ]
        others = [week for week in counts.school_weeks if week.school_id != "west"]
        return replace(counts, school_weeks=[*others, *at_west])

    assert found(attended([])) == []
    assert found(attended(WEEKS[-2:])) == []
    assert [name for _, name, _ in found(attended(WEEKS[-3:]))] == ["never_delivered.attendance_records"]


@pytest.mark.parametrize(("weeks", "is_told"), [(20, False), (40, True)])
def test_transcripts_name_no_school_and_may_come_once_a_year(weeks: int, is_told: bool) -> None:
    counts = of_length(sound(), weeks)
    assert found(counts) == ([("warning", "never_delivered.transcript", SCHOOLS)] if is_told else [])
    of_nobody = RecordWeek(None, WEEKS[3], 40, recorded(WEEKS[3]), late=0, missing={}, impossible={})
    assert found(replace(counts, records={**counts.records, "transcript": [of_nobody]})) == []


@pytest.mark.parametrize(
    ("per_week", "weeks", "is_told"),
    [
        (12, 20, False),  # not a school year yet
        (12, 40, True),
        (0.1, 40, False),  # a school like the other may have none for years
    ],
)
def test_a_school_without_incidents_is_told_where_the_others_make_that_no_chance(
    per_week: float, weeks: int, is_told: bool
) -> None:
    def rare(record: RecordWeek) -> RecordWeek:
        return replace(record, rows=int(per_week * 20) if record.week == WEEKS[0] else 0)

    counts = of_length(without(changed(sound(), "discipline_incidents", rare), "discipline_incidents", "west"), weeks)
    never = [finding for finding in judged(counts).findings if finding.name == "never_delivered.discipline_incidents"]
    assert [(finding.severity, finding.schools) for finding in never] == ([("warning", ("west",))] if is_told else [])


@pytest.mark.parametrize(("students", "is_told"), [(STUDENTS, False), (2 * STUDENTS, True)])
def test_a_district_without_incidents_is_told_unless_it_is_small_or_declares_that_none_are_reported(
    students: int, is_told: bool
) -> None:
    counts = of_length(without(sound(), "discipline_incidents", *SCHOOLS), 40)
    weeks = [replace(week, student_days=10 * students) for week in counts.school_weeks]

    def names(weeks: list[SchoolWeek]) -> set[str]:
        return {finding.name for finding in judged(replace(counts, school_weeks=weeks)).findings}

    assert ("never_delivered.discipline_incidents" in names(weeks)) is is_told
    declared = [replace(week, undeclared_days=10) for week in weeks]
    assert "never_delivered.discipline_incidents" not in names(declared)


def test_what_higher_education_does_not_have_blocks_nothing() -> None:
    """As OULAD is imported: no transcript, incidents declared not to be reported, a module before its first due date."""
    counts = of_length(without(sound(), "discipline_incidents", *SCHOOLS), 40)
    declared = [replace(week, undeclared_days=10) for week in counts.school_weeks]
    counts = replace(without(counts, "grades", "west"), school_weeks=declared)
    never = [finding for finding in judged(counts).findings if finding.name.startswith("never_delivered")]
    assert [(finding.severity, finding.name) for finding in never] == [
        ("warning", "never_delivered.grades"),
        ("warning", "never_delivered.transcript"),
    ]


@pytest.mark.parametrize(("weeks_without", "severity"), [(1, None), (2, "warning"), (5, "blocker")])
def test_freshness_counts_school_days(weeks_without: int, severity: str | None) -> None:
    counts = sound()
    kept = [record for record in counts.records["attendance_records"] if record.week in WEEKS[: 20 - weeks_without]]
    counts = replace(counts, records={**counts.records, "attendance_records": kept})
    stale = [finding for finding in judged(counts).findings if finding.name == "freshness.attendance_records"]
    assert [finding.severity for finding in stale] == ([severity] if severity else [])
    if stale:
        assert stale[0].figure == 5 * weeks_without
        assert stale[0].schools == SCHOOLS


def test_a_holiday_makes_nothing_stale_but_a_calendar_that_has_ended_is_told() -> None:
    later = judge_data(sound(), district_id="demo", as_of=NOW + timedelta(days=60), zone=ZONE, policy=POLICY)
    assert [(finding.severity, finding.name) for finding in later.findings] == [("warning", "freshness.calendar")]


def test_late_rows_and_columns_never_given() -> None:
    def late(record: RecordWeek) -> RecordWeek:
        return replace(record, late=record.rows // 10) if record.school_id == "west" else record

    assert found(changed(sound(), "grades", late)) == [("warning", "late.grades", ("west",))]

    def without_periods(record: RecordWeek) -> RecordWeek:
        return replace(record, missing={"periods_scheduled": record.rows if record.school_id == "east" else 3})

    assert found(changed(sound(), "attendance_records", without_periods)) == [
        ("warning", "missing.attendance_records.periods_scheduled", ("east",))
    ]


@pytest.mark.parametrize(("due", "without", "is_told"), [(300, 60, True), (300, 24, False), (9, 9, False)])
def test_unmarked_work_is_a_share_of_what_was_handed_in_and_due_long_ago(due: int, without: int, is_told: bool) -> None:
    def unmarked(record: RecordWeek) -> RecordWeek:
        assert without < 0.1 * record.rows, "of all work it would be no finding"
        of_school = without if record.school_id == "east" else 0
        return replace(record, missing={"score_pct": of_school}, due={"score_pct": due})

    findings = judged(changed(sound(), "grades", unmarked)).findings
    assert [(finding.name, finding.schools, finding.figure) for finding in findings] == (
        [("missing.grades.score_pct", ("east",), without / due)] if is_told else []
    )


def test_impossible_rows_are_told_from_the_first_and_block_when_many() -> None:
    def one(record: RecordWeek) -> RecordWeek:
        first = record.week == WEEKS[3] and record.school_id == "west"
        return replace(record, impossible={"outside_enrolment": int(first)})

    counts = changed(sound(), "attendance_records", one)
    assert found(counts) == [("warning", "impossible.attendance_records.outside_enrolment", ("west",))]
    assert weeks_of(counts) == (WEEKS[3], WEEKS[3])
    assert "fewer than 10 rows" in judged(counts).findings[0].message

    def many(record: RecordWeek) -> RecordWeek:
        return replace(record, impossible={"outside_enrolment": record.rows // 50})

    assert found(changed(sound(), "attendance_records", many)) == [
        ("blocker", "impossible.attendance_records.outside_enrolment", SCHOOLS)
    ]
    twice = replace(sound(), overlapping={"grades": {WEEKS[2]: 12}})
    assert found(twice) == [("warning", "impossible.grades.overlapping_versions", ())]


def missing(index: int, share: float, *, year: int, school: str, week: date) -> FeatureWeek:
    counts = [20] * len(FEATURE_NAMES)
    counts[index] = round(share * STUDENTS)
    return FeatureWeek(school, week, year, STUDENTS, tuple(counts))


def test_a_feature_missing_more_than_in_the_same_week_of_earlier_years() -> None:
    index = FEATURE_INDEX["gpa_current_term"]
    last_year = [week - timedelta(days=364) for week in WEEKS]
    # Missing early in every year: no finding. Missing late this year only: one.
    usual = {position: 0.9 if position < 4 else 0.05 for position in range(20)}
    features = [
        missing(index, usual[position], year=2024, school=school, week=week)
        for school in SCHOOLS
        for position, week in enumerate(last_year)
    ] + [
        missing(index, 0.6 if 9 <= position < 12 else usual[position], year=2025, school=school, week=week)
        for school in SCHOOLS
        for position, week in enumerate(WEEKS)
    ]
    counts = replace(sound(), features=features)
    assert found(counts) == [("warning", "missing.gpa_current_term", ())]
    assert weeks_of(counts) == (WEEKS[9], WEEKS[11])


def test_a_school_without_what_the_others_have() -> None:
    index = FEATURE_INDEX["tardy_rate_4wk"]
    features = [
        missing(index, 1.0 if school == "west" else 0.1, year=2025, school=school, week=week)
        for school in SCHOOLS
        for week in WEEKS
    ]
    assert found(replace(sound(), features=features)) == [("warning", "missing.tardy_rate_4wk", ("west",))]


def test_a_year_without_attendance_is_a_blocker() -> None:
    attendance = sum(name in FEATURE_NAMES[:14] for name in FEATURE_NAMES)
    counts = (STUDENTS,) * attendance + (20,) * (len(FEATURE_NAMES) - attendance)
    features = [
        FeatureWeek(school, week, 2025, STUDENTS, counts if week in WEEKS[4:16] else (20,) * len(FEATURE_NAMES))
        for school in SCHOOLS
        for week in WEEKS
    ]
    assert found(replace(sound(), features=features)) == [("blocker", "missing.attendance", ())]


def exits(*, unknown: int, moved_on: int = 0, delay: int = 20) -> list[ExitCount]:
    return [
        ExitCount("east", 2024, "dropout", 40, 40, 10, delay),
        ExitCount("east", 2024, "transfer_out", 40, 40, 5, 9),
        ExitCount("east", 2024, "year_end", 300, 30, 1, 1),
        ExitCount("east", 2024, "graduated", 100, 100, 1, 1),
        ExitCount("east", 2024, "unknown", unknown, unknown, 5, 9),
        ExitCount("east", 2024, "changed_school", 20, moved_on, 5, 9),
    ]


@pytest.mark.parametrize(
    ("counts", "severity"),
    [
        (exits(unknown=3), None),
        (exits(unknown=6), "warning"),
        (exits(unknown=0, moved_on=6), "warning"),
        (exits(unknown=60), "blocker"),
    ],
)
def test_leavers_of_whom_nobody_knows_where_they_went(counts, severity) -> None:
    report = judged(replace(sound(), exits=counts))
    assert [(f.severity, f.name) for f in report.findings] == (
        [(severity, "leaver_codes.enrollments")] if severity else []
    )


@pytest.mark.parametrize(("gone", "severity"), [(20, None), (60, "warning"), (295, "blocker")])
def test_a_year_whose_next_one_is_missing(gone: int, severity: str | None) -> None:
    ended = ExitCount("east", 2024, "year_end", 300, gone, 1, 1)
    assert found(replace(sound(), exits=[ended])) == (
        [(severity, "not_returned.enrollments", ("east",))] if severity else []
    )
    before_the_count = judge_data(
        replace(sound(), exits=[ended]),
        district_id="demo",
        as_of=datetime(2025, 9, 30, tzinfo=UTC),
        zone=ZONE,
        policy=POLICY,
    )
    assert "not_returned.enrollments" not in {finding.name for finding in before_the_count.findings}


def test_dropouts_that_are_known_late() -> None:
    assert found(replace(sound(), exits=exits(unknown=0, delay=70))) == [
        ("warning", "label_delay.enrollments", ("east",))
    ]


@pytest.mark.parametrize(("pending", "severity"), [(4, "warning"), (400, "blocker")])
def test_features_that_are_not_current(pending: int, severity: str) -> None:
    assert found(replace(sound(), not_materialised=pending)) == [(severity, "not_materialised.student_features", ())]


def test_blockers_come_first_and_the_report_becomes_json() -> None:
    counts = replace(sound(), not_materialised=400, exits=exits(unknown=6))
    report = judged(counts)
    assert [finding.severity for finding in report.findings] == ["blocker", "warning"]
    written = json.loads(json.dumps(report.to_dict()))
    assert written["as_of"] == NOW.isoformat()
    assert [finding["name"] for finding in written["findings"]] == [finding.name for finding in report.findings]
    assert count_told(9) == "fewer than 10"
    assert count_told(1200) == "1,200"


def test_a_blocker_is_ignored_only_with_a_reason() -> None:
    with pytest.raises(InvalidInputError, match="--reason"):
        IgnoredBlockers(("volume.attendance_records",))
    tags = IgnoredBlockers(("volume.attendance_records",), "a flood closed the school").as_tags()
    assert tags == {"ignored_data_blockers": "volume.attendance_records: a flood closed the school"}
    assert IgnoredBlockers().as_tags() == {}


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"volume": {}}, "volume"),
        ({"freshness": {"attendances": {"warn_school_days": 1, "block_school_days": None}}}, "freshness.attendances"),
        ({"impossible": {"block_share": 2.0, "most_suspension_days": 180}}, "impossible.block_share"),
    ],
)
def test_a_policy_that_does_not_fit_is_named(sections, named: str) -> None:
    text = yaml.safe_dump({**POLICY.model_dump(mode="json"), **sections})
    with pytest.raises(InvalidInputError, match=named):
        parse_data_policy(text, name="ours.yaml")
    assert parse_data_policy(yaml.safe_dump(POLICY.model_dump(mode="json")), name="ours.yaml") == POLICY
