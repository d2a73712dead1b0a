"""Judging an experiment: audit groups reach the report only, simple strategies, and schools that nobody learned from."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from edupulse_ml.core.contract import FEATURE_INDEX
from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.outcomes import EARLY_TASK, risk_task
from edupulse_ml.core.sequences import PAD, SequenceBatch
from edupulse_ml.evaluation.generalisation import HELD_OUT_SCHOOLS, NEW_DISTRICT
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.evaluation.splits import Split
from edupulse_ml.models.labels import labelled_steps
from edupulse_ml.models.protocol import TrainingData
from jobs.comparisons import ABC_FLAG, SCHOOL_TARGETING, school_rates, simple_strategies
from jobs.experiment import Experiment, Predict, judge, landmarks
from jobs.unseen_schools import SchoolOptions, judge_short_records, judge_unseen_schools
from tests.fakes.training_data import make_training_data

TASKS = (risk_task(), EARLY_TASK)
N = 400


def part(seed: int) -> TrainingData:
    data = make_training_data(n_students=N, seed=seed, hazard=0.004)
    school = np.where(data.block.week == PAD, PAD, (np.arange(N) % 4)[:, None]).astype(np.int32)
    return replace(data, block=replace(data.block, school=school))


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    test = part(2)
    real = test.block.week != PAD
    nothing = np.zeros_like(real)
    return Experiment(
        train=part(0),
        calibration=part(1),
        held_out=replace(test, eligible=nothing),
        test=test,
        returning=replace(test, eligible=nothing),
        split=Split(nothing, nothing, real, nothing, nothing, 0, "Trained on others."),
        tasks=TASKS,
        window_weeks=8,
        person=np.arange(N, dtype=np.int32),
        audit={"sex": ["female" if i % 3 else "male" for i in range(N)], "homeless": [None] * N},
    )


def absence(batch: SequenceBatch) -> Mapping[str, np.ndarray]:
    rate = batch.values[np.arange(batch.n_examples), batch.length - 1, FEATURE_INDEX["absence_rate_ytd"]]
    score = np.clip(np.nan_to_num(rate.astype(np.float64), nan=0.1), 0.01, 0.9)
    return {task.name: score for task in TASKS}


@pytest.fixture(scope="module")
def report(experiment: Experiment) -> EvaluationReport:
    return judge(
        experiment, {"gru": absence}, title="t", created_at="2026-01-01", replicates=20, seed=0, champion="gru"
    )


def test_the_report_holds_everything_and_survives_json(report: EvaluationReport) -> None:
    assert report.fairness is not None
    assert report.fairness.attributes == ("sex",)
    assert report.fairness.not_recorded == ("homeless",)
    gap = report.fairness.gap("fnr", model="gru", task="risk_score", attribute="sex")
    assert gap is not None
    assert gap.gap.value is not None
    assert {c.strategy for c in report.decision_curve[0].strategies} == {
        "gru", ABC_FLAG, SCHOOL_TARGETING, "treat_all", "treat_none",
    }  # fmt: skip
    assert {entry.slots for entry in report.capacity} >= {None, 25}
    assert report.stability[0].jaccard.value is not None
    assert EvaluationReport.from_json(report.to_json()) == report
    assert "NaN" not in report.to_json()


def test_without_audit_attributes_nothing_is_said_of_fairness(experiment: Experiment) -> None:
    silent = judge(
        replace(experiment, audit={}),
        {"gru": absence},
        title="t",
        created_at="2026-01-01",
        replicates=10,
        seed=0,
        champion="gru",
    )
    assert silent.fairness is None


def test_the_audit_changes_no_other_figure(experiment: Experiment, report: EvaluationReport) -> None:
    other = judge(
        replace(experiment, audit={"sex": ["x"] * N}),
        {"gru": absence},
        title="t",
        created_at="2026-01-01",
        replicates=20,
        seed=0,
        champion="gru",
    )
    assert replace(other, fairness=None) == replace(report, fairness=None)


def test_the_abc_rule_flags_on_any_of_three_signs(experiment: Experiment) -> None:
    data = experiment.test
    student, step = landmarks(data)
    flags = simple_strategies(experiment.train, data, tasks=TASKS, student=student, step=step)[ABC_FLAG]["risk_score"]
    values = data.block.values[student, step]
    for row, flag in zip(values[:200], flags[:200], strict=True):
        absent, suspended, failing = (
            row[FEATURE_INDEX[name]] for name in ("absence_rate_ytd", "oss_days_ytd", "core_courses_failing_count")
        )
        assert flag == float(absent >= 0.10 or suspended >= 0.5 or failing >= 1)


def test_a_school_has_the_rate_of_the_weeks_learned_from(experiment: Experiment) -> None:
    train, task = experiment.train, TASKS[0]
    rates = school_rates(train, task=task, school=np.asarray([0, 3, 9], np.int32))
    steps = labelled_steps(train, tasks=[task])
    label = steps.labels[task.name]
    known = label >= 0
    school = train.block.school[steps.student, steps.step]
    overall = label[known].mean()
    for rate, wanted in zip(rates, (0, 3, 9), strict=True):
        own = label[known & (school == wanted)]
        assert rate == pytest.approx((own.sum() + 200 * overall) / (len(own) + 200))
    assert rates[2] == pytest.approx(overall)


def test_a_held_out_school_is_never_learned_from(experiment: Experiment) -> None:
    seen: list[set[int]] = []

    def fit(train: TrainingData, calibration: TrainingData) -> Predict:
        schools = [set(np.unique(data.block.school[data.eligible]).tolist()) for data in (train, calibration)]
        assert schools[0] == schools[1]
        seen.append(schools[0])
        return absence

    options = SchoolOptions(max_schools=3, replicates=10, seed=0)
    found = judge_unseen_schools(experiment, fit, name="lightgbm", options=options)
    assert [len(schools) for schools in seen] == [4, 3, 3, 3, 2, 2]
    assert seen[4] | seen[5] == {0, 1, 2, 3}
    assert [(g.setting, g.task, g.n_schools) for g in found] == [
        (HELD_OUT_SCHOOLS, "risk_score", 3),
        (HELD_OUT_SCHOOLS, "risk_60plus", 3),
        (NEW_DISTRICT, "risk_score", 4),
        (NEW_DISTRICT, "risk_60plus", 4),
    ]
    # The same model stands for both, so that nothing is lost.
    assert all(figure.value == 0 for g in found for figure in g.difference.values())


def test_one_school_cannot_be_held_out(experiment: Experiment) -> None:
    test = experiment.test
    alone = replace(test, block=replace(test.block, school=np.minimum(test.block.school, 0)))
    with pytest.raises(NotEnoughDataError, match="two schools"):
        judge_unseen_schools(
            replace(experiment, test=alone), lambda *_: absence, name="m", options=SchoolOptions(1, 5, 0)
        )


def test_students_new_to_the_records_are_judged_apart(experiment: Experiment) -> None:
    found = judge_short_records(experiment, absence, name="gru", replicates=10, seed=0)
    assert [g.setting for g in found] == ["short_record"] * 2
    assert found[0].unseen["auc"].value != found[0].seen["auc"].value
    assert found[0].difference == {}
