"""The report: what it holds, what it hides, and that every way to read it says the same."""

import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from edupulse_ml.core.errors import InvalidInputError, NotFoundError
from edupulse_ml.core.outcomes import Outcomes, Task
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.evaluation.evaluate import EvaluationOptions, EvaluationRows, WeeklyScores, evaluate_models
from edupulse_ml.evaluation.html import report_html
from edupulse_ml.evaluation.report import POOLED, TOO_FEW, DataWindow, EvaluationReport, ReportContext
from edupulse_ml.evaluation.table import report_table

TASKS = (Task("risk_score", 0, 180), Task("risk_60plus", 60, 365))
N = 400


def make_report(*, champion: str = "gru", shortest: int | None = None, as_of: int = 2000) -> EvaluationReport:
    rng = np.random.default_rng(0)
    student = np.arange(N, dtype=np.int32)
    risk = rng.random(N)
    leaves = rng.random(N) < risk**2
    event = np.where(leaves, 1000 + rng.integers(1, 300, N), NEVER).astype(np.int32)
    outcomes = Outcomes(event, np.where(leaves, event, as_of).astype(np.int32), as_of)
    late = student[:5]
    rows = EvaluationRows(
        student=np.concatenate([student, student, late]),
        cutoff_day=np.concatenate([np.full(N, 1000), np.full(N, 1007), np.full(5, 1030)]).astype(np.int32),
        outcomes=outcomes.select(np.concatenate([student, student, late])),
        landmark=["week 9"] * N + ["week 10"] * N + ["week 13"] * 5,
    )
    good = np.concatenate([risk, risk, risk[:5]])
    weeks = np.arange(1000, 1280, 7, dtype=np.int32)
    weekly_student = np.repeat(student, len(weeks))
    weekly = WeeklyScores(
        task="risk_score",
        student=weekly_student,
        cutoff_day=np.tile(weeks, N),
        outcomes=outcomes.select(weekly_student),
        scores={"gru": np.repeat(risk, len(weeks)), "base_rate": np.full(N * len(weeks), 0.3)},
    )
    return evaluate_models(
        {
            "base_rate": {task.name: np.full(len(good), 0.3) for task in TASKS},
            "gru": {task.name: good**2 for task in TASKS},
        },
        rows,
        tasks=TASKS,
        context=ReportContext(
            title="A <test> district",
            champion=champion,
            created_at="2026-01-01T00:00:00Z",
            split="Trained on 2020, tested on 2023.",
            windows=(DataWindow("test", "2023-09-10", "2024-06-09", N, 2 * N),),
        ),
        options=EvaluationOptions(replicates=50, seed=1, shortest_follow_up_days=shortest),
        weekly=weekly,
    )


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return make_report()


def test_the_figures_are_those_of_the_rows(report: EvaluationReport) -> None:
    group = report.group(model="gru", task="risk_score", landmark="week 9")
    assert (group.n_rows, group.n_students) == (N, N)
    auc = group.figures["auc"]
    assert auc.value is not None
    assert auc.low is not None
    assert auc.high is not None
    assert auc.low < auc.value < auc.high
    assert report.figure("auc", model="base_rate", task="risk_score").value == 0.5
    assert report.landmarks == ("week 9", "week 10", "week 13")


def test_the_difference_to_a_rival_is_paired(report: EvaluationReport) -> None:
    difference = next(d for d in report.differences if d.metric == "auc" and d.landmark == POOLED)
    mine = report.figure("auc", model="gru", task="risk_score").value
    assert mine is not None
    assert difference.difference == pytest.approx(mine - 0.5)
    assert 0 < difference.low < difference.difference < difference.high


def test_small_groups_are_not_described(report: EvaluationReport) -> None:
    group = report.group(model="gru", task="risk_score", landmark="week 13")
    assert group.reason == TOO_FEW
    assert (group.n_rows, group.n_students, group.n_events, group.base_rate) == (None, None, None, None)
    assert not group.figures
    assert report.figure("auc", model="gru", task="risk_score", landmark="week 13").reason == TOO_FEW


def test_json_there_and_back(report: EvaluationReport) -> None:
    text = report.to_json()
    assert EvaluationReport.from_json(text) == report
    assert "NaN" not in text
    assert json.loads(text)["context"]["champion"] == "gru"


def test_reports_join_by_task(report: EvaluationReport) -> None:
    first = replace(report, tasks=report.tasks[:1], groups=tuple(g for g in report.groups if g.task == "risk_score"))
    second = replace(report, tasks=report.tasks[1:], groups=tuple(g for g in report.groups if g.task != "risk_score"))
    joined = first.joined(second)
    assert joined.tasks == report.tasks
    assert joined.figure("auc", model="gru", task="risk_60plus") == report.figure(
        "auc", model="gru", task="risk_60plus"
    )
    with pytest.raises(InvalidInputError, match="different tasks"):
        report.joined(report)


def test_a_file_that_is_no_report_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no evaluation report"):
        EvaluationReport.from_json('{"groups": 3}')


def test_what_is_not_there_is_said(report: EvaluationReport) -> None:
    with pytest.raises(NotFoundError, match="xgboost"):
        report.group(model="xgboost", task="risk_score")


def test_a_missing_prediction_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="champion"):
        make_report(champion="xgboost")


def test_html_speaks_in_students_and_carries_its_pictures(report: EvaluationReport) -> None:
    html = report_html(report)
    precision = report.figure("precision_top5", model="gru", task="risk_score").value
    assert precision is not None
    assert f"about {round(100 * precision)} left" in html.replace("\n", " ")
    assert "A &lt;test&gt; district" in html
    assert html.count("data:image/png;base64,") == 7
    assert "http" not in html
    assert TOO_FEW in html
    assert "Half of the leavers" in html


def test_the_terminal_shows_the_champion_first(report: EvaluationReport) -> None:
    console = Console(file=StringIO(), width=180)
    console.print(report_table(report))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert 0 < text.index("GRU") < text.index("Base rate")
    assert "Of 100 students flagged like this" in text


def test_where_follow_up_is_short_calibration_is_not_shown() -> None:
    short = make_report(shortest=120, as_of=1150)
    note = short.tasks[1].note
    assert note is not None
    html = report_html(short)
    assert "reliability" not in html
    assert note in html


def test_without_an_event_nothing_is_ranked() -> None:
    outcomes = Outcomes(np.full(20, NEVER, np.int32), np.full(20, 9000, np.int32), 9000)
    rows = EvaluationRows(np.arange(20, dtype=np.int32), np.full(20, 100, np.int32), outcomes, ["w"] * 20)
    quiet = evaluate_models(
        {"gru": {"risk_score": np.full(20, 0.1)}},
        rows,
        tasks=TASKS[:1],
        context=ReportContext("t", "gru", "2026-01-01T00:00:00Z", "s"),
    )
    assert quiet.group(model="gru", task="risk_score").reason == "no student left"
    assert "No student left" in report_html(quiet)
    Console(file=StringIO()).print(report_table(quiet))
