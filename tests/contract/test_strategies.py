"""What every strategy that can be served must do, whatever it was learned with."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest

from deployments.components import RegistryModels
from deployments.model_slot import ModelFiles, self_test
from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.errors import ContractMismatchError, InvalidInputError, NotEnoughDataError, NotFoundError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.core.outcomes import EARLY_TASK, LABEL_UNKNOWN, task_labels
from edupulse_ml.core.sequences import PAD, SequenceBatch, concatenate_batches, empty_windows
from edupulse_ml.explain.strategies import explain_model
from edupulse_ml.models.protocol import labelled_rows
from edupulse_ml.models.strategies import SERVABLE, load_strategy
from edupulse_ml.training.strategies import STRATEGIES, train_strategy
from jobs.bulk.model_files import ModelFiles as BulkFiles
from tests.fakes.strategies import TASKS, WINDOW, cohorts, options, quiet, trained, windows


@pytest.fixture(scope="module", params=sorted(SERVABLE))
def strategy(request):
    return request.param


@pytest.fixture(scope="module")
def folder(strategy, tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / strategy
    assert trained(strategy).model.save(directory) <= 1e-5
    return directory


@pytest.fixture(scope="module")
def model(folder):
    return load_strategy(folder)


@pytest.fixture(scope="module")
def batch():
    return windows(cohorts().calibration).select(slice(0, 60))


def assert_same(first, second, rows=slice(None), *, atol=2e-6):
    np.testing.assert_allclose(first.risk_score, second.risk_score[rows], rtol=0, atol=atol)
    np.testing.assert_allclose(first.risk_60plus, second.risk_60plus[rows], rtol=0, atol=atol)
    np.testing.assert_allclose(first.hazards, second.hazards[rows], rtol=0, atol=atol)


def test_every_strategy_can_be_trained_and_says_its_name(strategy, model):
    assert set(STRATEGIES) == set(SERVABLE)
    assert model.strategy == strategy
    assert model.policy.version == "7"
    assert model.metadata["district"] == "demo"
    assert model.task == TASKS[0]
    assert {task.name for task in model.tasks} == {"risk_score", EARLY_TASK.name}


def test_probabilities_and_shapes(model, batch):
    scores = model.score(batch)
    for values in (scores.risk_score, scores.risk_60plus):
        assert values.shape == (60,)
        assert values.dtype == np.float64
        assert np.all((values > 0) & (values < 1))
        assert len(np.unique(values)) > 1
    assert scores.attention.shape == batch.week.shape
    assert scores.hazards.shape[0] == 60
    answers = model.predict(batch)
    np.testing.assert_array_equal(answers["risk_score"], scores.risk_score)
    np.testing.assert_array_equal(answers[EARLY_TASK.name], scores.risk_60plus)


def test_attention_is_a_distribution_or_nothing_at_all(model, batch, strategy):
    total = model.score(batch).attention.sum(axis=1)
    np.testing.assert_allclose(total, 1.0 if strategy in ("gru", "ensemble") else 0.0, atol=1e-5)


def test_a_loaded_model_answers_as_the_trained_one(strategy, model, batch):
    assert_same(model.score(batch), trained(strategy).model.score(batch), atol=1e-5)


def test_a_model_saved_again_answers_the_same(model, batch, tmp_path):
    model.save(tmp_path / "again")
    assert_same(load_strategy(tmp_path / "again").score(batch), model.score(batch), atol=1e-6)


def test_torch_and_onnx_answer_alike(folder, model, batch):
    assert_same(load_strategy(folder, engine="torch").score(batch), model.score(batch), atol=1e-5)


def test_the_folder_is_flat_names_its_strategy_and_holds_no_pickle(folder, strategy):
    assert all(path.is_file() for path in folder.iterdir())
    assert json.loads((folder / "strategy.json").read_text()) == {"strategy": strategy}
    assert not [path for path in folder.iterdir() if path.suffix in (".pkl", ".pickle", ".joblib")]


def test_a_row_depends_on_that_row_only(model, batch):
    together = model.score(batch)
    for row in (0, 17, 59):
        assert_same(model.score(batch.select([row])), together, [row])
    order = np.random.default_rng(2).permutation(60)
    assert_same(model.score(batch.select(order)), together, order)


def test_more_windows_than_go_through_at_once_change_nothing(model, batch):
    assert_same(model.score(concatenate_batches([batch] * 6)), model.score(batch), np.tile(np.arange(60), 6))


def test_padding_does_not_matter(model, batch):
    def longer(name):
        values = getattr(batch, name)
        fill = {"f": np.nan, "b": False, "i": PAD}[values.dtype.kind]
        if name == "context":
            return values
        return np.pad(values, [(0, 0), (0, 5)] + [(0, 0)] * (values.ndim - 2), constant_values=fill)

    padded = SequenceBatch(**{f.name: longer(f.name) for f in fields(SequenceBatch)})
    assert_same(model.score(padded), model.score(batch))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_missing_values_and_empty_windows_give_probabilities(model, batch, share):
    rng = np.random.default_rng(1)

    def holes(values):
        return np.where(rng.random(values.shape) < share, np.nan, values).astype(np.float32)

    patchy = replace(batch, values=holes(batch.values), support=holes(batch.support), context=holes(batch.context))
    for scores in (model.score(patchy), model.score(empty_windows(3, window_weeks=WINDOW))):
        assert np.all((scores.risk_score > 0) & (scores.risk_score < 1))
    assert model.score(batch.select([])).risk_score.shape == (0,)


def test_the_batch_is_not_changed(model, batch):
    before = {f.name: getattr(batch, f.name).copy() for f in fields(SequenceBatch)}
    model.score(batch)
    explain_model(model)(batch)
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(batch, name), values)


def test_several_threads_get_the_answers_of_one(model, batch):
    explain = explain_model(model)
    parts = [batch.select(slice(at, at + 20)) for at in range(0, 60, 20)] * 8
    expected = [(model.score(part).risk_score, explain(part)) for part in parts[:3]] * 8
    with ThreadPoolExecutor(max_workers=6) as pool:
        found = list(pool.map(lambda part: (model.score(part).risk_score, explain(part)), parts))
    for (score, reasons), (expected_score, expected_reasons) in zip(found, expected, strict=True):
        np.testing.assert_allclose(score, expected_score, rtol=0, atol=1e-6)
        assert [r.reasons for r in reasons] == [r.reasons for r in expected_reasons]


def test_every_example_is_explained(model, batch):
    explanations = explain_model(model)(batch)
    assert len(explanations) == 60
    assert any(explanation.reasons for explanation in explanations)
    for explanation in explanations:
        assert all(reason.effect > 0 and "typical for grade" in reason.text for reason in explanation.reasons)
        assert explanation.timeline.shape == (WINDOW,)


def test_leavers_of_the_cohort_learned_from_score_higher(model):
    data = cohorts().train
    student, step = data.rows()
    rows = labelled_rows(data, student=student, step=step, window_weeks=WINDOW)
    label = task_labels(rows.outcomes, cutoff_day=rows.cutoff_day, task=TASKS[0])
    score = model.score(rows.batch).risk_score
    assert score[label == 1].mean() > score[(label == 0) & (label != LABEL_UNKNOWN)].mean()


def test_scores_are_calibrated_on_the_calibration_cohort(model):
    data = cohorts().calibration
    student, step = data.rows()
    rows = labelled_rows(data, student=student, step=step, window_weeks=WINDOW)
    label = task_labels(rows.outcomes, cutoff_day=rows.cutoff_day, task=TASKS[0])
    score, known = model.score(rows.batch).risk_score, label != LABEL_UNKNOWN
    assert score[known].mean() == pytest.approx(label[known].mean(), rel=0.02)


def test_another_contract_is_refused(model, batch):
    other = replace(model, contract=replace(current_contract(window_weeks=WINDOW), version="0"))
    with pytest.raises(ContractMismatchError, match="version"):
        other.score(batch)


def test_a_replica_loads_it_and_its_self_test_passes(folder, model, batch):
    models = RegistryModels("sqlite://", DistrictId("demo"), folder, "cpu", 1)
    loaded = models.load(ModelFiles(ModelVersion("1"), folder))
    self_test(loaded)
    np.testing.assert_array_equal(loaded.score(batch).risk_score, model.score(batch).risk_score)


def test_a_worker_loads_it_from_bytes(folder, model, batch):
    again = BulkFiles.read(ModelVersion("1"), folder).load()
    assert_same(again.score(batch), model.score(batch), atol=1e-7)


def test_an_incomplete_folder_is_refused(folder, strategy, tmp_path):
    (tmp_path / "strategy.json").write_text(json.dumps({"strategy": strategy}))
    with pytest.raises(NotFoundError, match=r"lacks model\.json"):
        load_strategy(tmp_path)


def test_the_same_seed_gives_the_same_model(strategy, batch):
    again = train_strategy(cohorts(), tasks=TASKS, options=options(strategy), progress=quiet)
    assert_same(again.model.score(batch), trained(strategy).model.score(batch))


def test_a_cohort_without_events_is_refused(strategy):
    train = cohorts().train
    nobody = replace(train.outcomes, event_day=np.full_like(train.outcomes.event_day, 2**31 - 1))
    none = replace(cohorts(), train=replace(train, outcomes=nobody))
    with pytest.raises(NotEnoughDataError):
        train_strategy(none, tasks=TASKS, options=options(strategy), progress=quiet)


def test_unknown_strategies_are_named_in_the_refusal(tmp_path):
    (tmp_path / "strategy.json").write_text('{"strategy": "oracle"}')
    with pytest.raises(NotFoundError, match="gru, boosted, ensemble, rules"):
        load_strategy(tmp_path)
    with pytest.raises(InvalidInputError, match="oracle"):
        train_strategy(cohorts(), tasks=TASKS, options=options("oracle"), progress=quiet)
