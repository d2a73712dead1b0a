"""Explanations of the real network on simulated students: complete, verified, worded, deterministic."""

from dataclasses import replace

import numpy as np
import pytest
import structlog
import torch

from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.outcomes import EARLY_TASK, risk_task
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.explain.artifact import ExplainableArtifact
from edupulse_ml.explain.attributions import integrated_gradients
from edupulse_ml.explain.concepts import CONCEPTS
from edupulse_ml.explain.explanation import explain_batch
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.engines import NetworkOutput, TorchEngine
from edupulse_ml.models.gru import RiskNet, RiskNetConfig
from edupulse_ml.models.inputs import InputNorms, ModelInputs
from edupulse_ml.models.protocol import labelled_rows
from tests.fakes.training_data import make_training_data


@pytest.fixture(scope="module")
def model() -> ExplainableArtifact:
    torch.manual_seed(1)
    norms = InputNorms.fit(make_training_data(n_students=300, n_weeks=24, seed=1))
    network = RiskNet(RiskNetConfig(hidden=16, fusion=32)).eval()
    artifact = ModelArtifact(
        network=network,
        norms=norms,
        calibrators={},
        policy=CategoryPolicy("t", 0.1, 0.2, 0.3),
        contract=current_contract(),
        task=risk_task(),
        tasks=(risk_task(), EARLY_TASK),
    )
    return ExplainableArtifact(artifact)


@pytest.fixture(scope="module")
def batch() -> SequenceBatch:
    data = make_training_data(n_students=60, n_weeks=24, seed=2)
    student, step = data.rows()
    keep = step == 15
    return labelled_rows(data, student=student[keep], step=step[keep], window_weeks=20).batch


def test_completeness_holds_at_the_95th_percentile(model: ExplainableArtifact, batch: SequenceBatch) -> None:
    z_BTF = torch.from_numpy(model.standardise(batch))
    risk_logit, rows = model.risk_logit(batch), torch.arange(batch.n_examples)
    attribution = integrated_gradients(risk_logit, z_BTF)
    with torch.no_grad():
        difference = (risk_logit(z_BTF, rows) - risk_logit(torch.zeros_like(z_BTF), rows)).numpy()
    assert np.quantile(np.abs(attribution.sum(axis=(1, 2)) - difference), 0.95) <= 0.01


def test_reasons_are_few_signed_named_and_worded(model: ExplainableArtifact, batch: SequenceBatch) -> None:
    explanations = explain_batch(model, batch)
    names = {concept.name for concept in CONCEPTS}
    assert len(explanations) == batch.n_examples
    assert sum(len(e.reasons) for e in explanations) > batch.n_examples / 2
    for explanation in explanations:
        assert len(explanation.reasons) <= 3
        assert len(explanation.protective_factors) <= 1
        assert all(reason.effect > 0 for reason in explanation.reasons)
        assert all(factor.effect < 0 for factor in explanation.protective_factors)
        effects = [reason.effect for reason in explanation.reasons]
        assert effects == sorted(effects, reverse=True)
        for reason in (*explanation.reasons, *explanation.protective_factors):
            assert reason.concept in names
            assert "typical for grade" in reason.text
            assert "nan" not in reason.text.lower()


def test_padding_has_no_part_in_the_timeline(model: ExplainableArtifact, batch: SequenceBatch) -> None:
    explanations = explain_batch(model, batch)
    for row, explanation in enumerate(explanations):
        assert not explanation.timeline[batch.length[row] :].any()
        assert explanation.timeline[: batch.length[row]].any()


def test_a_student_is_explained_alike_alone_and_in_a_batch(model: ExplainableArtifact, batch: SequenceBatch) -> None:
    together = explain_batch(model, batch)
    alone = explain_batch(model, batch.select([7]))[0]
    assert [r.text for r in alone.reasons] == [r.text for r in together[7].reasons]


def test_students_without_records_are_not_explained(model: ExplainableArtifact, batch: SequenceBatch) -> None:
    values = np.full_like(batch.values[:2], np.nan)
    mask = np.zeros_like(batch.mask[:2])
    chosen = batch.select(slice(0, 2))
    empty = SequenceBatch(values, chosen.support, mask, chosen.aux, chosen.context, chosen.week, chosen.grade_level)
    assert all(not e.reasons and not e.protective_factors for e in explain_batch(model, empty))


def test_what_is_logged_of_unverified_reasons_are_counts_only(model: ExplainableArtifact, batch: SequenceBatch) -> None:
    with structlog.testing.capture_logs() as logged:
        explain_batch(model, batch)
    assert all(set(line) <= {"event", "log_level", "dropped", "candidates"} for line in logged)


class CountingEngine(TorchEngine):
    """Notes how many rows each forward had."""

    def __init__(self, network: RiskNet) -> None:
        super().__init__(network)
        self.examples_per_run = 10_000
        self.rows: list[int] = []

    def run(self, inputs: ModelInputs) -> NetworkOutput:
        self.rows.append(len(inputs.length))
        return super().run(inputs)


def test_a_batch_is_verified_in_at_most_three_forwards(model: ExplainableArtifact, batch: SequenceBatch) -> None:
    engine = CountingEngine(model._artifact.network)
    explained = explain_batch(ExplainableArtifact(replace(model._artifact, engine=engine)), batch)
    assert any(explanation.reasons for explanation in explained)
    assert engine.rows[0] == 2 * batch.n_examples
    assert 2 <= len(engine.rows) <= 3
