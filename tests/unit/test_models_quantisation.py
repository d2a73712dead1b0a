"""Coarser weights: the gate they must pass, the choice, and what a stored model is served with."""

import json

import numpy as np
import pytest
import torch

from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.errors import InvalidInputError, NotFoundError
from edupulse_ml.core.outcomes import EARLY_TASK, risk_task, task_labels
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.models import quantisation_choice
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.calibration import Calibrator
from edupulse_ml.models.gru import RiskNet, RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.protocol import labelled_rows
from edupulse_ml.models.quantisation import GateLimits, GateReport, compare_scores, is_worth_it
from edupulse_ml.models.quantisation_choice import measure_engines, settle_on_cpu, settle_on_gpu
from tests.fakes.training_data import make_training_data

POLICY = CategoryPolicy("1", 0.2, 0.4, 0.6)
ADMITTED = GateReport(score_shift_p99=0.01, auc_change=0.001, flip_share=0.005, examples=100)


def gate(reference, candidate, label):
    return compare_scores(
        reference=np.array(reference), candidate=np.array(candidate), label=np.array(label), policy=POLICY
    )


def test_equal_scores_change_nothing():
    report = gate([0.1, 0.5, 0.7], [0.1, 0.5, 0.7], [0, 1, 1])
    assert report == GateReport(score_shift_p99=0.0, auc_change=0.0, flip_share=0.0, examples=3)
    assert report.objections() == ()


def test_each_figure_is_what_it_says():
    report = gate([0.10, 0.30, 0.50, 0.39], [0.10, 0.30, 0.50, 0.41], [0, 1, 0, 1])
    assert report.flip_share == 0.25
    assert report.auc_change == 0.0
    assert report.score_shift_p99 == pytest.approx(np.quantile([0, 0, 0, 0.02], 0.99))
    swapped = gate([0.10, 0.30, 0.31, 0.39], [0.10, 0.31, 0.30, 0.39], [0, 1, 0, 1])
    assert swapped.auc_change == pytest.approx(0.25)
    assert swapped.flip_share == 0.0


def test_unknown_outcomes_count_for_all_but_the_auc():
    known = gate([0.1, 0.3, 0.5], [0.1, 0.3, 0.5], [0, 1, 0])
    with_unknown = gate([0.1, 0.3, 0.5, 0.1], [0.1, 0.3, 0.5, 0.9], [0, 1, 0, -1])
    assert with_unknown.auc_change == known.auc_change
    assert with_unknown.flip_share == 0.25


@pytest.mark.parametrize(
    ("field", "words"),
    [("score_shift_p99", "score shift"), ("auc_change", "ROC AUC"), ("flip_share", "changed categories")],
)
def test_any_figure_above_its_limit_is_an_objection(field, words):
    assert ADMITTED.objections() == ()
    limit = getattr(GateLimits(), field)
    for value in (limit * 1.001, float("nan")):
        (objection,) = GateReport(**{**vars(ADMITTED), field: value}).objections()
        assert words in objection


@pytest.mark.parametrize(
    ("reference", "candidate", "label"),
    [
        ([], [], []),
        ([0.1, 0.2], [0.1], [0, 1]),
        ([0.1, 0.2], [0.1, 0.2], [0, 0]),
        ([0.1, 0.2], [0.1, 0.2], [0, -1]),
        ([0.1, 0.2], [0.1, np.nan], [0, 1]),
    ],
)
def test_what_cannot_be_judged_is_refused(reference, candidate, label):
    with pytest.raises(InvalidInputError, match="accuracy gate"):
        gate(reference, candidate, label)


def test_int8_must_be_both_admitted_and_faster():
    refused = GateReport(**{**vars(ADMITTED), "flip_share": 0.006})
    assert is_worth_it(ADMITTED, exact_s=1.2, coarse_s=1.0)
    assert not is_worth_it(ADMITTED, exact_s=1.04, coarse_s=1.0)
    assert not is_worth_it(ADMITTED, exact_s=0.9, coarse_s=1.0)
    assert not is_worth_it(refused, exact_s=2.0, coarse_s=1.0)


@pytest.fixture(scope="module")
def cohort():
    data = make_training_data(n_students=300, n_weeks=12, seed=4, hazard=0.004)
    student, step = data.rows()
    rows = labelled_rows(data, student=student[::3], step=step[::3], window_weeks=8)
    label = task_labels(rows.outcomes, cutoff_day=rows.cutoff_day, task=risk_task())
    return data, rows.batch, label


@pytest.fixture
def folder(cohort, tmp_path):
    torch.manual_seed(3)
    tasks = (risk_task(), EARLY_TASK)
    artifact = ModelArtifact(
        network=RiskNet(RiskNetConfig(hidden=8, attention=8, fusion=16)).eval(),
        norms=InputNorms.fit(cohort[0]),
        calibrators={task.name: Calibrator("platt", 1.2, -0.5) for task in tasks},
        policy=POLICY,
        contract=current_contract(window_weeks=8),
        task=tasks[0],
        tasks=tasks,
    )
    artifact.save(tmp_path)
    return tmp_path


def pretend_speed(monkeypatch, *, exact_s, coarse_s):
    monkeypatch.setattr(quantisation_choice, "measure_engines", lambda engines, **_: (exact_s, coarse_s))


def test_int8_that_is_admitted_and_faster_is_served(folder, cohort, monkeypatch):
    pretend_speed(monkeypatch, exact_s=2.0, coarse_s=1.0)
    _, batch, label = cohort
    choice = settle_on_cpu(folder, batch, label)
    assert choice.engine == "onnx-int8"
    assert choice.gate.examples == batch.n_examples
    exact = ModelArtifact.load(folder, engine="onnx-float32").score(batch).risk_score
    coarse = ModelArtifact.load(folder, engine="onnx-int8").score(batch).risk_score
    served = ModelArtifact.load(folder).score(batch).risk_score
    np.testing.assert_array_equal(served, coarse)
    assert 0 < np.abs(coarse - exact).max() <= 0.02


def test_int8_that_is_not_faster_leaves_no_trace_but_the_figures(folder, cohort, monkeypatch):
    pretend_speed(monkeypatch, exact_s=1.0, coarse_s=1.0)
    _, batch, label = cohort
    before = ModelArtifact.load(folder).score(batch).risk_score
    assert settle_on_cpu(folder, batch, label).engine == "onnx-float32"
    assert not (folder / "model.int8.onnx").exists()
    stored = json.loads((folder / "engine.json").read_text())
    assert stored["onnx"]["engine"] == "onnx-float32"
    assert stored["onnx"]["gate"]["examples"] == batch.n_examples
    np.testing.assert_array_equal(ModelArtifact.load(folder).score(batch).risk_score, before)


def test_int8_that_the_gate_refuses_is_not_served_however_fast(folder, cohort, monkeypatch):
    pretend_speed(monkeypatch, exact_s=9.0, coarse_s=1.0)
    monkeypatch.setattr(GateReport, "objections", lambda _: ("too far off",))
    _, batch, label = cohort
    assert settle_on_cpu(folder, batch, label).engine == "onnx-float32"
    assert not (folder / "model.int8.onnx").exists()


@pytest.mark.parametrize(("coarse_s", "engine"), [(1.0, "torch-half"), (2.0, "torch-float32")])
def test_half_precision_is_served_only_where_it_is_faster(folder, cohort, monkeypatch, coarse_s, engine):
    pretend_speed(monkeypatch, exact_s=2.0, coarse_s=coarse_s)
    _, batch, label = cohort
    assert settle_on_gpu(folder, batch, label, device="cpu").engine == engine
    served = ModelArtifact.load(folder, engine="torch").score(batch).risk_score
    np.testing.assert_array_equal(served, ModelArtifact.load(folder, engine=engine).score(batch).risk_score)
    exact = ModelArtifact.load(folder, engine="torch-float32").score(batch).risk_score
    assert bool(np.any(served != exact)) == (engine == "torch-half")
    np.testing.assert_allclose(served, exact, atol=0.01)


def test_what_is_settled_for_one_device_leaves_the_other_alone(folder, cohort, monkeypatch):
    pretend_speed(monkeypatch, exact_s=2.0, coarse_s=1.0)
    _, batch, label = cohort
    settle_on_cpu(folder, batch, label)
    settle_on_gpu(folder, batch, label, device="cpu")
    stored = json.loads((folder / "engine.json").read_text())
    assert (stored["onnx"]["engine"], stored["torch"]["engine"]) == ("onnx-int8", "torch-half")


def test_int8_weights_that_are_not_there_are_named(folder):
    with pytest.raises(NotFoundError, match="holds no int8 weights"):
        ModelArtifact.load(folder, engine="onnx-int8")


def test_engines_are_measured_in_turn_over_the_same_work():
    calls = []

    class Idle:
        name, examples_per_run = "idle", 64

        def __init__(self, label):
            self.label = label

        def run(self, inputs):
            calls.append((self.label, inputs.z.shape[:2]))

    ticks = iter(range(1000))
    seconds = measure_engines((Idle("a"), Idle("b")), steps=8, examples=16, clock=lambda: next(ticks))
    assert seconds == (1 / 64, 1 / 64)
    assert {shape for _, shape in calls} == {(16, 8)}
    assert [label for label, _ in calls] == (["a"] * 5 + ["b"] * 5) * 5
