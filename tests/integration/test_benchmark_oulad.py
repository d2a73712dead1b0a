"""The benchmark from end to end: on a simulated pair of presentations, and its facts on the OULAD files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edupulse_ml.core.outcomes import LABEL_UNKNOWN, task_labels
from edupulse_ml.core.sequences import PAD
from edupulse_ml.core.weeks import NEVER, day_from_number
from edupulse_ml.evaluation.outcomes import outcomes_from_exits
from edupulse_ml.evaluation.report import EvaluationReport
from jobs.benchmark import benchmark_lines
from jobs.benchmark_oulad import WITHDRAWAL_TASKS, load_benchmark, run_benchmark, shown_order
from jobs.benchmark_trial import LANDMARK_DAYS
from tests.fakes.benchmark import Watched, quick_options, simulated_data

OULAD = Path(__file__).parents[3] / "shared" / "data" / "oulad"
needs_oulad = pytest.mark.skipif(not OULAD.is_dir(), reason="the OULAD files are not here")


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    found = run_benchmark(simulated_data(), options=quick_options(), created_at="2026-01-01T00:00:00Z", watch=Watched())
    return shown_order(found)


def test_every_model_answers_every_question(report: EvaluationReport) -> None:
    assert [task.name for task in report.tasks] == ["lead60", "within60", "any", "withdrawn_or_fail"]
    assert {"gru", "base_rate", "chronic_absence", "abc_rule", "logistic", "lightgbm"} <= set(report.models)
    assert report.landmarks == tuple(f"day {day}" for day in LANDMARK_DAYS)
    for model in ("lightgbm", "logistic"):
        auc = report.figure("auc", model=model, task="withdrawn_or_fail").value
        assert auc is not None
    assert report.lead_time(model="gru") is not None


def test_one_line_per_model_and_task(report: EvaluationReport) -> None:
    lines = benchmark_lines(report)
    assert len(lines) == len(report.tasks) * len(report.models)
    assert all("day 112" in line and "base" in line for line in lines)


def test_failures_are_asked_of_as_many_and_found_more_often(report: EvaluationReport) -> None:
    leaving = report.group(model="gru", task="any", landmark="day 28")
    failing = report.group(model="gru", task="withdrawn_or_fail", landmark="day 28")
    assert leaving.n_rows == failing.n_rows
    assert leaving.base_rate is not None
    assert failing.base_rate is not None
    assert failing.base_rate > leaving.base_rate + 0.2


def test_people_of_the_test_are_not_learned_from(report: EvaluationReport) -> None:
    windows = {window.name: window.n_students for window in report.context.windows}
    assert windows["train"] + windows["calibrate"] <= 259


def test_side_by_side_gives_the_same_report(report: EvaluationReport) -> None:
    watched = Watched()
    found = run_benchmark(
        simulated_data(), options=quick_options(), created_at="2026-01-01T00:00:00Z", watch=watched, side_by_side=True
    )
    assert shown_order(found).to_json() == report.to_json()
    assert set(watched.steps) == {"withdrawal", "withdrawal or failure"}
    assert all("ensemble" in steps for steps in watched.steps.values())


@pytest.mark.oulad
@needs_oulad
def test_oulad_facts() -> None:
    data = load_benchmark(OULAD, ["2014B"])
    assert set(data.presentation) == {"2014B"}
    assert {day_from_number(int(day)).isoformat() for day in set(data.day_zero.tolist())} == {"2014-02-03"}
    outcomes = outcomes_from_exits(
        data.exits, as_of_day=data.settled_day, n_students=data.block.n_students, completers_never_leave=True
    )
    left = outcomes.event_day != NEVER
    assert (outcomes.followed_until[~left] == NEVER).all()
    cutoff = np.where(data.block.week == PAD, 0, data.block.week + 6)
    assert not ((data.block.week > outcomes.event_day[:, None]) & (data.block.week != PAD)).any()
    at_28 = np.flatnonzero(
        (cutoff == data.day_zero[:, None] + 27).any(axis=1) & (outcomes.event_day > data.day_zero + 27)
    )
    chosen = replace(outcomes).select(at_28.astype(np.int32))
    labels = task_labels(chosen, cutoff_day=(data.day_zero[at_28] + 27).astype(np.int32), task=WITHDRAWAL_TASKS[0])
    assert (labels != LABEL_UNKNOWN).all()
    assert 0.15 < labels.mean() < 0.35
