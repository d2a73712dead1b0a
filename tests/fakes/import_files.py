"""Import files with one good row for each table, and reading them with their rejects."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa

from edupulse_ml.connectors.folder import read_folder
from edupulse_ml.connectors.rejects import RejectList
from edupulse_ml.connectors.schemas import canonical_schema
from edupulse_ml.connectors.values import ReadingRules

RULES = ReadingRules(ZoneInfo("America/New_York"), datetime(2026, 11, 1, 12, tzinfo=UTC))
NOT_A_DATE = "not an ISO date (YYYY-MM-DD)"

HEADERS = {
    "schools": "school_id,name,records_tardies",
    "calendar": "school_id,date,is_instructional,term_id,school_year,discipline_reported",
    "students": "student_id,person_id,birth_date",
    "enrollments": "student_id,school_id,grade_level,entry_date,exit_date,exit_code,last_attended_date,recorded_at",
    "attendance_records": "student_id,date,status,fraction_absent,periods_absent,periods_scheduled,recorded_at",
    "grades": "student_id,course_id,subject,is_core,term_id,assignment_id,category,due_date,submitted_at,score_pct,"
    "points_weight,posted_at,recorded_at",
    "transcript": "student_id,term_id,course_id,credits_attempted,credits_earned,final_pct,posted_at",
    "discipline_incidents": "student_id,incident_id,incident_date,behavior_code,is_objective,severity,is_major,action,"
    "action_start,action_days,recorded_at",
}
GOOD = {
    "schools": "HS1,North High,true",
    "calendar": "HS1,2025-09-02,true,2025-S1,2025,true",
    "students": "stu-1,per-1,2010-03-14",
    "enrollments": "stu-1,HS1,9,2025-09-02,2026-01-20,dropout,2026-01-10,2026-01-22T11:05:00-05:00",
    "attendance_records": "stu-1,2025-09-02,present,0,1,7,2025-09-02T15:10:00-04:00",
    "grades": "stu-1,ALG1,math,true,2025-S1,hw-1,homework,2025-09-12,2025-09-11T20:14:00Z,78.5,10,2025-09-16,",
    "transcript": "stu-1,2025-S1,ALG1,0.5,0.5,81,2026-01-30",
    "discipline_incidents": "stu-1,i-1,2025-10-06,FIGHT,true,4,true,OSS,2025-10-07,2,2025-10-06",
}


def read(folder: Path, **options):
    """All rows by table, and the rejects as tuples."""
    rejects = RejectList()
    tables, files = {}, {}
    for file in read_folder(folder, rules=RULES, rejects=rejects, **options):
        chunks = list(file.chunks)
        tables[file.table.name] = pa.concat_tables([canonical_schema(file.table).empty_table(), *chunks])
        files[file.table.name] = file
    return tables, [(r.file, r.line, r.column, r.reason) for r in rejects.rows], files


def write(folder: Path, table: str, *lines: str) -> None:
    (folder / f"{table}.csv").write_text("\n".join([HEADERS[table], *lines]) + "\n", encoding="utf-8")
