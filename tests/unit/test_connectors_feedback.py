"""A district's list of outcomes and interventions: what is read, and what is rejected with its reason."""

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edupulse_ml.connectors.feedback_file import read_feedback
from edupulse_ml.connectors.folder import NoImportFolderError
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.feedback import Feedback, InterventionFeedback, OutcomeFeedback
from edupulse_ml.core.ids import StudentId

RULES = ReadingRules(zone=ZoneInfo("America/New_York"), now=datetime(2025, 6, 2, tzinfo=UTC))
HEADER = "key,kind,student_id,value,starts_on,ends_on,given_by,recorded_at,retracted"


class Rejects(list):
    def add(self, row) -> None:
        self.append((row.line, row.column, row.reason))


def read(tmp_path: Path, *lines: str) -> tuple[list[Feedback], Rejects]:
    path = tmp_path / "list.csv"
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    rejects = Rejects()
    found = read_feedback(path, rules=RULES, rejects=rejects)
    return [statement for chunk in found.chunks for statement in chunk.statements], rejects


def test_rows_become_statements(tmp_path: Path) -> None:
    statements, rejects = read(
        tmp_path,
        "o1,outcome,s1,left,2025-02-03,,registrar,2025-02-10T09:00:00,",
        "i1,intervention,s2,tutoring,2025-01-06,2025-03-01,ms-r,,true",
    )
    assert not rejects
    assert statements == [
        OutcomeFeedback(
            key="o1",
            student_id=StudentId("s1"),
            given_by="registrar",
            recorded_at=datetime(2025, 2, 10, 14, tzinfo=UTC),
            outcome="left",
            happened_on=date(2025, 2, 3),
        ),
        InterventionFeedback(
            key="i1",
            student_id=StudentId("s2"),
            given_by="ms-r",
            retracted=True,
            intervention="tutoring",
            started_on=date(2025, 1, 6),
            ended_on=date(2025, 3, 1),
        ),
    ]


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("k,outcome,s1,tutoring,2025-01-06,,r,,", "value"),
        ("k,intervention,s1,left,2025-01-06,,r,,", "value"),
        ("k,intervention,s1,Jane was ill,2025-01-06,,r,,", "value"),
        ("k,flag,s1,left,2025-01-06,,r,,", "kind"),
        ("k,outcome,s1,left,2025-01-06,2025-01-07,r,,", "ends_on"),
        ("k,intervention,s1,other,2025-01-06,2025-01-05,r,,", "ends_on"),
        ("k,outcome,s1,left,2025-01-06,,r,2025-01-01T00:00:00Z,", "recorded_at"),
        (",outcome,s1,left,2025-01-06,,r,,", "key"),
        ("k,outcome,s1,left,2025-01-06,,,,", "given_by"),
        ("k,outcome,s1,left,1/6/25,,r,,", "starts_on"),
    ],
)
def test_a_bad_row_is_rejected_and_its_value_is_not_shown(tmp_path: Path, line: str, column: str) -> None:
    statements, rejects = read(tmp_path, line, "ok,outcome,s1,left,2025-01-06,,r,,")
    assert [statement.key for statement in statements] == ["ok"]
    ((number, place, reason),) = rejects
    assert (number, place) == (2, column)
    assert "Jane" not in reason


def test_there_must_be_such_a_file(tmp_path: Path) -> None:
    with pytest.raises(NoImportFolderError, match=r"\.csv or \.parquet"):
        read_feedback(tmp_path / "list.csv", rules=RULES, rejects=Rejects())
