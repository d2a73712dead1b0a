"""The check of the data on real PostgreSQL: what is counted, as known when, and what a generated district shows."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.monitoring.data_policy import load_data_policy
from edupulse_ml.monitoring.findings import DataBlockedError, DataQualityReport
from edupulse_ml.simulation.folder import write_folder
from edupulse_ml.simulation.settings import DistrictPlan
from jobs.check_data import NOTHING_IGNORED, IgnoredBlockers, check_data, require_fit_data
from jobs.import_records import import_csv
from jobs.materialise import materialise_district
from jobs.wiring import open_context
from tests.fakes.clocks import FixedClock
from tests.fakes.scored_district import ScoredDistrict, make_district
from tests.fakes.store_world import NOW, World

AFTER_THE_YEARS = datetime(2026, 6, 20, 12, tzinfo=UTC)
QUIET = Console(quiet=True)


@pytest.fixture
def district(database_urls, redis_server, tmp_path: Path) -> ScoredDistrict:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    made = make_district(database_urls, redis_server.url, uri=uri, home=tmp_path, students=40)
    asyncio.run(materialise_district(made.settings, as_of=NOW, clock=FixedClock(NOW), console=QUIET))
    return made


def check(settings: Settings, as_of: datetime) -> DataQualityReport:
    async def work() -> DataQualityReport:
        async with open_context(settings, clock=FixedClock(as_of)) as context:
            return await check_data(context, as_of=as_of, policy=load_data_policy())

    return asyncio.run(work())


def names(report: DataQualityReport) -> set[tuple[str, str]]:
    return {(finding.severity, finding.name) for finding in report.findings}


def impossible(report: DataQualityReport) -> set[str]:
    return {finding.name.removeprefix("impossible.") for finding in report.findings if "impossible" in finding.name}


def test_rows_that_cannot_be_true_are_counted(district: ScoredDistrict) -> None:
    # What the import lets pass by rule, and what somebody wrote to the tables behind its back.
    before = impossible(check(district.settings, NOW))
    assert before == {"attendance_records.outside_enrolment"}  # the leavers of this district stay on the list
    district.world.execute(
        """
        INSERT INTO schools (district_id, school_id) VALUES ('demo', 'south');
        INSERT INTO enrollments (district_id, student_key, school_key, grade_level, entry_date, recorded_at)
        SELECT 'demo', student_key, (SELECT school_key FROM schools WHERE school_id = 'south'), 9, '2025-02-03',
            '2025-02-03' FROM students WHERE student_id = 's000';
        INSERT INTO enrollments
            (district_id, student_key, school_key, grade_level, entry_date, exit_date, exit_code, recorded_at)
        SELECT 'demo', student_key, (SELECT school_key FROM schools WHERE school_id = 'south'), 9, '2024-12-03',
            '2024-12-01', 'unknown', '2024-12-03' FROM students WHERE student_id = 's001';
        UPDATE attendance_records SET recorded_at = date - interval '3 days'
        WHERE date = '2025-03-04' AND student_key = (SELECT student_key FROM students WHERE student_id = 's002');
        INSERT INTO attendance_records (district_id, student_key, date, status, recorded_at)
        SELECT 'demo', student_key, '2025-03-05', 'present', '2025-03-20' FROM students WHERE student_id = 's003';
        SELECT ensure_partitions('grades', '2025-03-01', '2025-03-31');
        SELECT ensure_partitions('discipline_incidents', '2025-03-01', '2025-03-31');
        INSERT INTO grades (district_id, student_key, course_id, subject, is_core, term_id, assignment_id, category,
            due_date, submitted_at, score_pct, points_weight, posted_at, recorded_at)
        SELECT 'demo', student_key, 'c', 'math', true, 't', name, 'quiz', '2025-03-10', handed_in, 80, 1, posted,
            '2025-03-03'
        FROM students, (VALUES
            ('sound', timestamptz '2025-03-09', timestamptz '2025-03-12'),
            ('early', timestamptz '2025-03-09', timestamptz '2025-03-08'),
            ('never', NULL, timestamptz '2025-03-08')
        ) AS work (name, handed_in, posted)
        WHERE student_id = 's004';
        INSERT INTO discipline_incidents (district_id, student_key, incident_id, incident_date, behavior_code,
            is_objective, severity, is_major, action, action_start, action_days, recorded_at)
        SELECT 'demo', student_key, 'i', '2025-03-10', 'x', true, 3, true, 'OSS', '2025-03-07', 200, '2025-03-11'
        FROM students WHERE student_id = 's006';
        INSERT INTO transcript (district_id, student_key, term_id, course_id, is_core, credits_attempted,
            credits_earned, posted_at, recorded_at)
        SELECT 'demo', student_key, 't', 'c', true, 0.5, 1, '2025-05-01', '2025-05-01'
        FROM students WHERE student_id = 's006';
        """
    )
    assert impossible(check(district.settings, NOW)) == before | {
        "enrollments.enrolled_twice_at_once",
        "enrollments.exit_before_entry",
        "attendance_records.recorded_before_it_happened",
        "attendance_records.overlapping_versions",
        "grades.posted_before_handed_in",
        "grades.scored_before_due",
        "discipline_incidents.action_before_incident",
        "discipline_incidents.suspended_too_long",
        "transcript.earned_more_than_attempted",
    }
    # Before the second version of s003's day was recorded there was nothing to overlap.
    early = check(district.settings, datetime(2025, 3, 19, tzinfo=UTC))
    assert "attendance_records.overlapping_versions" not in impossible(early)


def test_unmarked_work_and_exits_without_a_code_are_shares_of_what_is_due(district: ScoredDistrict) -> None:
    # 210 pieces of work handed in long ago, 60 of them unmarked, beside work never handed in and work due last week; exits
    # without any code beside enrolments that are open.
    district.world.execute(
        """
        SELECT ensure_partitions('grades', '2025-03-01', '2025-05-31');
        INSERT INTO grades (district_id, student_key, course_id, subject, is_core, term_id, assignment_id, category,
            due_date, submitted_at, score_pct, points_weight, posted_at, recorded_at)
        SELECT 'demo', student_key, 'c', 'math', true, 't', kind || number, 'quiz', due, handed_in, score, 1,
            CASE WHEN score IS NOT NULL THEN timestamptz '2025-03-12' END, '2025-03-03'
        FROM students, (VALUES
            ('marked', 150, date '2025-03-10', timestamptz '2025-03-09', 80),
            ('unmarked', 60, date '2025-03-10', timestamptz '2025-03-09', NULL),
            ('never', 1000, date '2025-03-10', NULL, NULL),
            ('recent', 300, date '2025-05-28', timestamptz '2025-05-27', NULL)
        ) AS work (kind, times, due, handed_in, score), generate_series(1, times) AS number
        WHERE student_id = 's004';
        INSERT INTO enrollments (district_id, student_key, school_key, grade_level, entry_date, exit_date, recorded_at)
        SELECT 'demo', student_key, school_key, 9, date '2020-01-01' + number, date '2020-01-02' + number, '2025-05-30'
        FROM students, schools, generate_series(1, 200) AS number WHERE student_id = 's004' AND school_id = 'north';
        UPDATE enrollments SET exit_code = NULL;
        """
    )
    found = {finding.name: finding for finding in check(district.settings, NOW).findings}
    assert found["missing.grades.score_pct"].figure == 60 / 210
    assert found["missing.enrollments.exit_code"].figure == 1.0


def test_no_sentence_names_a_student(district: ScoredDistrict) -> None:
    report = check(district.settings, NOW)
    assert report.findings
    told = str(report.to_dict())
    assert not [name for name in district.world.values("SELECT student_id FROM students") if str(name) in told]


def test_another_district_sees_nothing(district: ScoredDistrict) -> None:
    other = World(district.world.urls, district="other")
    other.load_one("schools", {"school_id": "elsewhere"})
    report = check(district.settings.model_copy(update={"district": "other"}), NOW)
    assert names(report) == {("warning", "freshness.calendar")}


def test_a_blocker_stops_training_unless_somebody_answers_for_it(district: ScoredDistrict) -> None:
    def require(ignored: IgnoredBlockers):
        async def work():
            async with open_context(district.settings, clock=FixedClock(NOW)) as context:
                limits = load_data_policy()
                return await require_fit_data(context, as_of=NOW, policy=limits, ignored=ignored, console=QUIET)

        return asyncio.run(work())

    district.world.execute(
        "INSERT INTO feature_refresh_queue (district_id, student_key, from_week)"
        " SELECT 'demo', student_key, '2025-01-06' FROM students"
    )
    with pytest.raises(DataBlockedError, match="edupulse materialise"):
        require(NOTHING_IGNORED)
    blockers = {finding.name for finding in check(district.settings, NOW).blockers}
    assert "not_materialised.student_features" in blockers
    assert set(require(IgnoredBlockers(tuple(blockers), "a test"))) == blockers


@pytest.fixture(scope="module")
def generated(postgres, redis_server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """600 students, three years: one school reports no discipline for a month, one takes no period attendance."""
    home = tmp_path_factory.mktemp("generated")
    urls = postgres.create()
    settings = Settings(
        home=home,
        database_url=urls.app_url,
        redis_url=redis_server.url,
        mlflow_tracking_uri=f"sqlite:///{home / 'mlflow.db'}",
        district="demo",
    )
    asyncio.run(_import_generated(settings, home))
    return settings, urls.admin_url


async def _import_generated(settings: Settings, home: Path) -> None:
    write_folder(DistrictPlan(students=600, years=3, seed=2), home / "district")
    await import_csv(settings, home / "district", rejects_path=home / "rejects.csv", console=QUIET)
    clock = FixedClock(AFTER_THE_YEARS)
    await materialise_district(settings, as_of=AFTER_THE_YEARS, clock=clock, console=QUIET)


def test_a_generated_district_has_no_blocker_and_the_gaps_that_were_planted(generated: tuple[Settings, str]) -> None:
    report = check(generated[0], AFTER_THE_YEARS)
    assert report.blockers == ()
    found = {finding.name: finding for finding in report.warnings}
    gap = found["declared_gap.discipline_incidents"]
    assert len(gap.schools) == 1
    assert gap.first_week is not None
    assert gap.last_week is not None
    assert 21 <= (gap.last_week - gap.first_week).days <= 35
    assert len(found["missing.attendance_records.periods_scheduled"].schools) == 1
    assert found["missing.partial_day_absence_rate_4wk"].schools == (
        found["missing.attendance_records.periods_scheduled"].schools
    )
    assert "late.grades" in found
    assert not [name for name in found if name.startswith(("volume.", "impossible.", "freshness.", "never_delivered."))]


def test_a_generated_district_that_came_without_grades_is_found(generated: tuple[Settings, str]) -> None:
    settings, admin_url = generated
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS TABLE grades")
        connection.execute("DELETE FROM grades")
        try:
            report = check(settings, AFTER_THE_YEARS)
        finally:
            connection.execute("INSERT INTO grades OVERRIDING SYSTEM VALUE TABLE kept")
            connection.execute("DROP TABLE kept")
    never = [finding for finding in report.findings if finding.name.startswith("never_delivered")]
    assert [(finding.severity, finding.name) for finding in never] == [("warning", "never_delivered.grades")]
    assert len(never[0].schools) > 1


def test_a_generated_district_whose_next_year_is_missing_is_not_fit(generated: tuple[Settings, str]) -> None:
    after_the_count = check(generated[0], datetime(2026, 10, 2, 12, tzinfo=UTC))
    assert [finding.name for finding in after_the_count.blockers if "enrollments" in finding.name] == [
        "not_returned.enrollments"
    ]


def test_a_feed_that_stops_in_the_generated_district_is_found(generated: tuple[Settings, str]) -> None:
    settings, admin_url = generated
    in_may = datetime(2026, 5, 20, 12, tzinfo=UTC)
    assert not [finding for finding in check(settings, in_may).findings if finding.name.startswith("freshness")]
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("DELETE FROM attendance_records WHERE recorded_at >= '2026-04-15'")
    report = check(settings, in_may)
    assert ("blocker", "freshness.attendance_records") in names(report)
    assert ("blocker", "volume.attendance_records") in names(report)
