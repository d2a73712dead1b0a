"""Prepared data, one run, its checkpoints and its refusals."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from edupulse_ml.core.errors import InvalidInputError, NotEnoughDataError
from edupulse_ml.core.outcomes import EARLY_TASK, LABEL_UNKNOWN, Task, hazard_targets, risk_task, task_labels
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.models.gru import RiskNet, RiskNetConfig
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.training.chunks import Shard, epoch_batches
from edupulse_ml.training.data import (
    PreparedTraining,
    prepare_training,
    require_enough_students,
    students_with_enough_weeks,
)
from edupulse_ml.training.epoch import EveryStepHazards, ValidationMetrics, WeightAverage, run_epoch, validate
from edupulse_ml.training.gru_model import GruRiskModel, stopping_task
from edupulse_ml.training.local import fit_local
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.run import TrainingRun, read_result
from tests.fakes.training_data import FIRST_MONDAY, make_training_data

OPTIONS = TrainingOptions(
    window_weeks=8,
    epochs=4,
    patience=10,
    batch_size=32,
    validation_rows=200,
    allow_small=True,
    network=RiskNetConfig(hidden=8, attention=8, fusion=8),
)
SECONDS = "epoch_seconds"


def quiet(metrics):
    del metrics


@pytest.fixture(scope="module")
def cohorts():
    return [make_training_data(n_students=150, n_weeks=14, seed=seed, hazard=0.003) for seed in (1, 2)]


@pytest.fixture(scope="module")
def prepared(cohorts):
    train, validation = cohorts
    return prepare_training(train, validation, norms=InputNorms.fit(train), task=risk_task(), options=OPTIONS)


def untimed(history):
    return [{name: value for name, value in epoch.items() if name != SECONDS} for epoch in history]


def assert_same_weights(first, second):
    assert set(first) == set(second)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0)


def test_targets_count_every_student_alike_and_only_eligible_weeks(cohorts, prepared):
    train = cohorts[0]
    assert np.all(prepared.weight[~train.eligible] == 0)
    first = train.eligible.sum(axis=1).argmax()
    cutoff = train.block.week[first] + 6
    outcomes = train.outcomes.select(np.full(len(cutoff), first))
    target, known = hazard_targets(outcomes, cutoff_day=cutoff.astype(np.int32))
    share = train.eligible[first] / train.eligible[first].sum()
    np.testing.assert_allclose(prepared.weight[first], known * share[:, None], rtol=1e-6)
    np.testing.assert_array_equal(prepared.target[first], target)
    assert np.all(prepared.weight.sum(axis=1) <= 1 + 1e-5)


def test_what_follows_the_last_eligible_week_is_not_read(cohorts):
    train = cohorts[0]
    early = replace(train, eligible=train.eligible & (np.arange(14) < 5))
    prepared = prepare_training(early, cohorts[1], norms=InputNorms.fit(early), task=risk_task(), options=OPTIONS)
    assert prepared.n_steps.max() == 5


def test_prepared_arrays_survive_the_disk(prepared, tmp_path):
    prepared.save(tmp_path)
    again = PreparedTraining.load(tmp_path)
    for item in fields(prepared):
        np.testing.assert_array_equal(getattr(again, item.name), getattr(prepared, item.name))


def prepared_from(train, validation, *, norms=None):
    norms = norms or InputNorms.fit(train)
    return prepare_training(train, validation, norms=norms, task=risk_task(), options=OPTIONS)


def test_the_digest_is_that_of_the_same_data_also_from_the_disk(cohorts, prepared, tmp_path):
    prepared.save(tmp_path)
    digests = {prepared.digest(), PreparedTraining.load(tmp_path).digest(), prepared_from(*cohorts).digest()}
    assert len(digests) == 1
    assert re.fullmatch("[0-9a-f]{12}", digests.pop())


@pytest.mark.parametrize("part", [item.name for item in fields(PreparedTraining)])
def test_the_digest_tells_every_part_of_the_data_apart(prepared, part):
    values = getattr(prepared, part).copy()
    values.flat[0] += 1
    assert replace(prepared, **{part: values}).digest() != prepared.digest()


def test_another_split_of_the_same_records_has_another_digest(cohorts, prepared):
    train = cohorts[0]
    fewer = train.eligible & (np.arange(len(train.eligible)) % 4 != 0)[:, None]
    other = prepared_from(replace(train, eligible=fewer), cohorts[1], norms=InputNorms.fit(train))
    assert other.digest() != prepared.digest()


def test_a_further_week_that_is_not_learned_from_leaves_the_digest_alone(cohorts):
    train, validation = cohorts
    early = train.eligible & (np.arange(14) < 5)
    values = train.block.values.copy()
    values[:, 5:] = 7.0
    later = replace(train, eligible=early, block=replace(train.block, values=values))
    norms = InputNorms.fit(train)
    assert (
        prepared_from(replace(train, eligible=early), validation, norms=norms).digest()
        == prepared_from(later, validation, norms=norms).digest()
    )


def test_training_improves_on_the_start(prepared):
    run = TrainingRun(prepared, OPTIONS, task=risk_task())
    start = validate(run._network, prepared, task=risk_task(), device=torch.device("cpu"))
    history = fit_local(prepared, OPTIONS, task=risk_task(), progress=quiet).history
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert all(np.isfinite(list(epoch.values())).all() for epoch in history)
    assert min(epoch["validation_loss"] for epoch in history) < start.loss


def test_students_with_short_records_count_no_more_than_others(prepared):
    """The mean gradient of an epoch's batches is that of a batch which holds all students."""
    short = np.arange(len(prepared.n_steps)) % 3 > 0
    eligible = (prepared.weight > 0).any(axis=2) & (~short[:, None] | (np.arange(14) < 2))
    weight = np.where(eligible[:, :, None], 1.0 / np.maximum(eligible.sum(axis=1), 1)[:, None, None], 0.0)
    uneven = replace(
        prepared,
        n_steps=np.where(short, np.minimum(prepared.n_steps, 2), prepared.n_steps),
        weight=(weight * (prepared.weight > 0)).astype(np.float32),
    )

    def gradient_per_batch(batch_size):
        torch.manual_seed(0)
        network = RiskNet(RiskNetConfig(hidden=4, attention=4, fusion=4, heads=1, dropout=0.0, modality_dropout=0.0))
        batches = list(epoch_batches(uneven, window_weeks=4, batch_size=batch_size, seed=(0, 1), shard=Shard()))
        start = network.head.bias.detach().clone()
        run_epoch(
            EveryStepHazards(network),
            batches,
            torch.optim.SGD(network.parameters(), lr=1e-3),
            average=WeightAverage(network, decay=0.9),
            network=network,
            gradient_norm=1e9,
            device=torch.device("cpu"),
        )
        return (start - network.head.bias.detach()) / 1e-3 / len(batches)

    torch.testing.assert_close(gradient_per_batch(16), gradient_per_batch(1000), rtol=0.02, atol=1e-4)


def test_the_seed_decides_the_run(prepared):
    first, second = (fit_local(prepared, OPTIONS, task=risk_task(), progress=quiet) for _ in range(2))
    assert untimed(first.history) == untimed(second.history)
    assert_same_weights(first.weights, second.weights)
    other = fit_local(prepared, replace(OPTIONS, seed=1), task=risk_task(), progress=quiet)
    assert untimed(other.history) != untimed(first.history)


def test_training_leaves_the_callers_random_numbers_alone(prepared):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    fit_local(prepared, replace(OPTIONS, epochs=1), task=risk_task(), progress=quiet)
    torch.testing.assert_close(torch.rand(3), expected)


def test_a_resumed_run_goes_the_way_of_an_uninterrupted_one(prepared, tmp_path):
    whole = fit_local(prepared, OPTIONS, task=risk_task(), progress=quiet)
    first = TrainingRun(prepared, OPTIONS, task=risk_task())
    first.next_epoch()
    first.next_epoch()
    first.save(tmp_path)
    second = TrainingRun(prepared, OPTIONS, task=risk_task())
    second.resume(tmp_path)
    assert second.epochs_done == 2
    while not second.finished:
        second.next_epoch()
    assert untimed(second.result.history) == untimed(whole.history)
    assert_same_weights(second.result.weights, whole.weights)


def test_a_checkpoint_holds_the_result(prepared, tmp_path):
    run = TrainingRun(prepared, OPTIONS, task=risk_task())
    run.next_epoch()
    run.save(tmp_path)
    result = read_result(tmp_path)
    assert result.best_epoch == run.result.best_epoch == 1
    assert_same_weights(result.weights, run.result.weights)


def test_training_stops_when_validation_no_longer_improves(prepared, monkeypatch):
    areas = iter([0.7, 0.8, 0.75, 0.79, 0.78, 0.9])
    monkeypatch.setattr("edupulse_ml.training.run.validate", lambda *_, **__: ValidationMetrics(0.1, 0.2, next(areas)))
    run = TrainingRun(prepared, replace(OPTIONS, epochs=50, patience=3), task=risk_task())
    weights = []
    while not run.finished:
        run.next_epoch()
        weights.append({name: value.clone() for name, value in run._average.weights.items()})
    assert run.epochs_done == 5
    assert run.result.best_epoch == 2
    assert_same_weights(run.result.weights, weights[1])


def test_only_weeks_with_a_label_of_the_stopping_task_are_validated_on(cohorts):
    train, validation = cohorts
    norms = InputNorms.fit(train)
    # A question of 180 days is answered for the first weeks only.
    as_of = int(validation.block.week.max()) + 120
    short = replace(validation, outcomes=replace(validation.outcomes, as_of_day=as_of))
    student, step = short.rows()
    labels = task_labels(
        short.outcomes.select(student), cutoff_day=short.block.week[student, step] + 6, task=risk_task()
    )
    known = int((labels != LABEL_UNKNOWN).sum())
    assert 200 < known < len(labels) / 2

    def labels_of(options):
        return prepare_training(train, short, norms=norms, task=risk_task(), options=options).validation_label

    sampled, every = labels_of(OPTIONS), labels_of(replace(OPTIONS, validation_rows=100_000))
    assert len(sampled) == OPTIONS.validation_rows
    assert np.all(sampled != LABEL_UNKNOWN)
    assert len(every) == known
    nothing = replace(validation, outcomes=replace(validation.outcomes, as_of_day=FIRST_MONDAY))
    unknown = prepare_training(train, nothing, norms=norms, task=risk_task(), options=OPTIONS)
    assert len(unknown.validation_label) == OPTIONS.validation_rows


def test_without_labels_the_loss_stops_training(prepared):
    unknown = replace(prepared, validation_label=np.full_like(prepared.validation_label, LABEL_UNKNOWN))
    run = TrainingRun(unknown, OPTIONS, task=risk_task())
    metrics = run.next_epoch()
    assert np.isnan(metrics["validation_average_precision"])
    assert run.result.best_epoch == 1


def test_young_averages_follow_quickly_and_old_ones_slowly():
    layer = torch.nn.Linear(1, 1)
    average = WeightAverage(layer, decay=0.99)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        average.weights["weight"].fill_(0.0)
    average.update(layer)
    assert average.weights["weight"].item() > 0.8
    average.updates = 10_000
    before = average.weights["weight"].item()
    with torch.no_grad():
        layer.weight.fill_(before + 1.0)
    average.update(layer)
    assert average.weights["weight"].item() == pytest.approx(before + 0.01, abs=1e-5)


def test_few_students_are_counted_and_refused(cohorts):
    data = make_training_data(n_students=120, n_weeks=22, seed=1)
    enough = students_with_enough_weeks(data)
    assert 0 < enough <= 120
    assert enough == (data.eligible.cumsum(axis=1)[:, -1] >= 20).sum()
    with pytest.raises(NotEnoughDataError, match=f"there are {enough}:"):
        require_enough_students(data, allow_small=False)
    require_enough_students(data, allow_small=True)
    model = GruRiskModel(options=replace(OPTIONS, allow_small=False))
    with pytest.raises(NotEnoughDataError, match="1,000 students with 20 or more weeks"):
        model.fit(data, cohorts[1], tasks=[risk_task()], window_weeks=8, seed=0, progress=quiet)


def test_no_event_is_refused(cohorts):
    train = cohorts[0]
    calm = replace(train.outcomes, event_day=np.full_like(train.outcomes.event_day, NEVER))
    with pytest.raises(NotEnoughDataError, match="no event"):
        prepare_training(
            replace(train, outcomes=calm), cohorts[1], norms=InputNorms.fit(train), task=risk_task(), options=OPTIONS
        )


def test_the_task_that_stops_training():
    assert stopping_task([EARLY_TASK, risk_task()]).name == "risk_score"
    assert stopping_task([EARLY_TASK]) == EARLY_TASK
    with pytest.raises(InvalidInputError, match="at least one task"):
        stopping_task([])
    with pytest.raises(InvalidInputError, match="must start and end"):
        stopping_task([risk_task(), Task("odd", 10, 100)])


def test_options_are_flat_parameters():
    parameters = OPTIONS.as_parameters()
    assert parameters["network.hidden"] == 8
    assert parameters["epochs"] == 4
    assert all(isinstance(value, str | int | float | bool) for value in parameters.values())
