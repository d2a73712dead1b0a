"""The artefact: what is saved scores as before, on either engine, and refuses other contracts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.errors import ContractMismatchError, NotFoundError
from edupulse_ml.core.outcomes import EARLY_TASK, Task, interval_probability, risk_task
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.core.sequences import windows_ending_at
from edupulse_ml.models import engines
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.calibration import Calibrator
from edupulse_ml.models.engines import OnnxEngine, OnnxParityError, TorchEngine, export_onnx, sample_inputs
from edupulse_ml.models.gru import RiskNet, RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from tests.fakes.training_data import make_training_data

CONFIG = RiskNetConfig(hidden=8, attention=8, fusion=16)


@pytest.fixture(scope="module")
def data():
    return make_training_data(n_students=80, n_weeks=12, seed=4)


@pytest.fixture(scope="module")
def artifact(data):
    torch.manual_seed(3)
    tasks = (risk_task(), EARLY_TASK, Task("any", 0, 365))
    return ModelArtifact(
        network=RiskNet(CONFIG).eval(),
        norms=InputNorms.fit(data),
        calibrators={task.name: Calibrator("platt", 1.2, -0.5) for task in tasks},
        policy=CategoryPolicy("1", 0.1, 0.2, 0.4),
        contract=current_contract(window_weeks=8),
        task=tasks[0],
        tasks=tasks,
        metadata={"git_commit": "abc"},
    )


@pytest.fixture(scope="module")
def batch(data):
    student, step = data.rows()
    return windows_ending_at(data.block, student=student, step=step, window_weeks=8)


@pytest.fixture(scope="module")
def folder(artifact, tmp_path_factory):
    directory = tmp_path_factory.mktemp("artifact")
    assert artifact.save(directory) <= 1e-5
    return directory


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_what_is_loaded_scores_as_what_was_saved(artifact, folder, batch, engine):
    loaded = ModelArtifact.load(folder, engine=engine)
    assert (loaded.policy, loaded.contract, loaded.tasks) == (artifact.policy, artifact.contract, artifact.tasks)
    assert loaded.metadata == artifact.metadata
    expected, answered = artifact.score(batch), loaded.score(batch)
    for name in ("risk_score", "risk_60plus", "hazards", "attention"):
        np.testing.assert_allclose(getattr(answered, name), getattr(expected, name), atol=1e-5)


def test_scores_are_the_calibrated_interval_probabilities(artifact, batch):
    scores = artifact.score(batch)
    raw = interval_probability(scores.hazards, artifact.task)
    np.testing.assert_allclose(scores.risk_score, artifact.calibrators["risk_score"].apply(raw))
    answers = artifact.predict(batch)
    np.testing.assert_array_equal(answers["risk_score"], scores.risk_score)
    np.testing.assert_array_equal(answers["risk_60plus"], scores.risk_60plus)
    assert set(answers) == {"risk_score", "risk_60plus", "any"}


class Counting(TorchEngine):
    """Notes how many examples each forward had."""

    def __init__(self, network, *, examples_per_run):
        super().__init__(network)
        self.examples_per_run = examples_per_run
        self.sizes = []

    def run(self, inputs):
        self.sizes.append(len(inputs.length))
        return super().run(inputs)


def test_scoring_in_parts_is_scoring_at_once(artifact, batch):
    at_once = Counting(artifact.network, examples_per_run=batch.n_examples)
    in_parts = Counting(artifact.network, examples_per_run=13)
    whole = replace(artifact, engine=at_once).score(batch)
    parts = replace(artifact, engine=in_parts).score(batch)
    assert at_once.sizes == [batch.n_examples]
    assert max(in_parts.sizes) == 13
    assert sum(in_parts.sizes) == batch.n_examples
    np.testing.assert_allclose(parts.risk_score, whole.risk_score, atol=1e-6)
    np.testing.assert_allclose(parts.attention, whole.attention, atol=1e-6)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_an_empty_batch_has_empty_scores(folder, batch, engine):
    scores = ModelArtifact.load(folder, engine=engine).score(batch.select([]))
    assert scores.risk_score.shape == (0,)
    assert scores.hazards.shape == (0, 5)
    assert scores.attention.shape == (0, 8)


def test_another_contract_is_refused(artifact, batch):
    older = replace(artifact, contract=replace(artifact.contract, version="0"))
    with pytest.raises(ContractMismatchError, match="version"):
        older.score(batch)


def test_the_contract_is_compared_once_per_model(artifact, batch, monkeypatch):
    compared = []
    inner = type(artifact.contract).require_match
    monkeypatch.setattr(
        type(artifact.contract), "require_match", lambda mine, other: (compared.append(1), inner(mine, other))
    )
    fresh = replace(artifact)
    for _ in range(3):
        fresh.score(batch.select([0]))
    assert len(compared) == 1


def test_an_incomplete_folder_is_refused(folder, tmp_path):
    with pytest.raises(NotFoundError, match=r"lacks model\.json"):
        ModelArtifact.load(tmp_path)


def test_the_folder_holds_no_pickle(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration.json", "model.json", "model.onnx", "network.pt", "norms.npz", "strategy.json",
    ]  # fmt: skip
    torch.load(folder / "network.pt", weights_only=True)
    np.load(folder / "norms.npz", allow_pickle=False).close()
    json.loads((folder / "model.json").read_text())


def test_a_wrong_export_is_noticed(tmp_path, monkeypatch):
    network = RiskNet(CONFIG).eval()

    class Drifting(OnnxEngine):
        def run(self, inputs):
            output = super().run(inputs)
            return replace(output, logits=output.logits + 1e-3)

    monkeypatch.setattr(engines, "OnnxEngine", Drifting)
    with pytest.raises(OnnxParityError, match="differs from the trained network"):
        export_onnx(network, tmp_path / "model.onnx")


def test_the_full_network_exports_within_tolerance(tmp_path):
    torch.manual_seed(1)
    network = RiskNet(RiskNetConfig()).eval()
    assert export_onnx(network, tmp_path / "model.onnx") <= 1e-5
    inputs = sample_inputs(examples=33, steps=26, seed=8)
    first, second = TorchEngine(network).run(inputs), OnnxEngine(tmp_path / "model.onnx", threads=2).run(inputs)
    np.testing.assert_allclose(first.hazards, second.hazards, atol=1e-5)
    np.testing.assert_allclose(first.attention, second.attention, atol=1e-5)


@pytest.mark.parametrize("config", [CONFIG, RiskNetConfig(hidden=12, attention=8, heads=2, fusion=5)])
def test_the_export_folds_any_learned_scale_and_shift(tmp_path, config):
    torch.manual_seed(2)
    network = RiskNet(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    assert export_onnx(network, tmp_path / "model.onnx") <= 1e-5


def test_an_example_without_steps_is_scored_alike(tmp_path):
    torch.manual_seed(2)
    network = RiskNet(CONFIG).eval()
    export_onnx(network, tmp_path / "model.onnx")
    inputs = sample_inputs(examples=4, steps=6, seed=1)
    length = np.array([0, 6, 0, 2], dtype=np.int64)
    real = np.arange(6)[None, :, None] < length[:, None, None]
    inputs = replace(inputs, z=inputs.z * real, mask=inputs.mask * real, aux=inputs.aux * real, length=length)
    first, second = TorchEngine(network).run(inputs), OnnxEngine(tmp_path / "model.onnx").run(inputs)
    np.testing.assert_allclose(first.logits, second.logits, atol=1e-5)
    np.testing.assert_allclose(first.attention, second.attention, atol=1e-5)
