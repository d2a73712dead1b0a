"""What every risk model must do, whatever it learns with."""

from dataclasses import fields, replace

import numpy as np
import pytest

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.outcomes import EARLY_TASK, LABEL_UNKNOWN, risk_task, task_labels
from edupulse_ml.core.sequences import PAD, SequenceBatch, concatenate_batches
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.models.calibrated import CalibratedModel
from edupulse_ml.models.gru import RiskNetConfig
from edupulse_ml.models.protocol import labelled_rows
from edupulse_ml.models.rivals.abc_rule import AbcRule
from edupulse_ml.models.rivals.base_rate import BaseRate
from edupulse_ml.models.rivals.boosted import Boosted, BoostedOptions
from edupulse_ml.models.rivals.chronic_absence import ChronicAbsence
from edupulse_ml.models.rivals.logistic import Logistic
from edupulse_ml.models.rivals.mlp_last import MlpLast
from edupulse_ml.training.gru_model import GruRiskModel
from edupulse_ml.training.options import TrainingOptions
from tests.fakes.training_data import make_training_data

TASKS = (risk_task(), EARLY_TASK)
WINDOW = 8
SMALL = TrainingOptions(
    allow_small=True,
    epochs=2,
    validation_rows=300,
    batch_size=64,
    network=RiskNetConfig(hidden=8, attention=8, fusion=8),
)

MAKERS = {
    "base_rate": BaseRate,
    "chronic_absence": ChronicAbsence,
    "abc_rule": AbcRule,
    "logistic": Logistic,
    "mlp_last_week": lambda: MlpLast(epochs=2),
    "lightgbm": lambda: Boosted(options=BoostedOptions(rounds=20, threads=1)),
    "gru": lambda: GruRiskModel(options=SMALL),
    "calibrated rule": lambda: CalibratedModel(ChronicAbsence(), allow_small=True),
    "calibrated lightgbm": lambda: CalibratedModel(
        Boosted(options=BoostedOptions(rounds=20, threads=1)), allow_small=True
    ),
}


def quiet(metrics):
    del metrics


@pytest.fixture(scope="module")
def cohorts():
    return tuple(make_training_data(n_students=200, n_weeks=14, seed=s, hazard=0.002) for s in (1, 2))


def fitted(name, cohorts, *, seed=0):
    model = MAKERS[name]()
    model.fit(cohorts[0], cohorts[1], tasks=TASKS, window_weeks=WINDOW, seed=seed, progress=quiet)
    return model


@pytest.fixture(scope="module", params=sorted(MAKERS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind, cohorts):
    return fitted(kind, cohorts)


@pytest.fixture(scope="module")
def batch(cohorts):
    student, step = cohorts[1].rows()
    chosen = np.random.default_rng(0).permutation(len(student))[:60]
    return labelled_rows(cohorts[1], student=student[chosen], step=step[chosen], window_weeks=WINDOW).batch


def assert_same(first, second, rows=slice(None)):
    for task in TASKS:
        np.testing.assert_allclose(first[task.name], second[task.name][rows], rtol=0, atol=2e-6)


def test_name_is_the_one_reports_use(model, kind):
    assert model.name == {"calibrated rule": "chronic_absence", "calibrated lightgbm": "lightgbm"}.get(kind, kind)


def test_answers_every_task_with_one_probability_per_example(model, batch):
    answer = model.predict(batch)
    assert set(answer) == {task.name for task in TASKS}
    for probability in answer.values():
        assert probability.shape == (batch.n_examples,)
        assert probability.dtype == np.float64
        assert np.all((probability >= 0) & (probability <= 1))


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_missing_values_in_any_pattern_give_finite_probabilities(model, batch, share):
    rng = np.random.default_rng(1)

    def holes(values):
        return np.where(rng.random(values.shape) < share, np.nan, values).astype(np.float32)

    patchy = replace(
        batch,
        values=holes(batch.values),
        support=holes(batch.support),
        context=holes(batch.context),
        aux=holes(batch.aux),
        mask=batch.mask & (rng.random(batch.mask.shape) >= share),
    )
    for probability in model.predict(patchy).values():
        assert np.all(np.isfinite(probability))
        assert np.all((probability >= 0) & (probability <= 1))


def test_infinite_and_absurd_values_give_finite_probabilities(model, batch):
    absurd = batch.values.copy()
    absurd[::2] = np.inf
    absurd[1::2] = -1e30
    for probability in model.predict(replace(batch, values=absurd)).values():
        assert np.all(np.isfinite(probability))


def test_a_row_depends_on_that_row_only(model, batch):
    together = model.predict(batch)
    for row in (0, 17, 59):
        assert_same(model.predict(batch.select([row])), together, [row])


def test_the_order_of_the_batch_does_not_matter(model, batch):
    order = np.random.default_rng(2).permutation(batch.n_examples)
    assert_same(model.predict(batch.select(order)), model.predict(batch), order)


def test_padding_does_not_matter(model, batch):
    extra = 5

    def longer(name):
        values = getattr(batch, name)
        fill = {"f": np.nan, "b": False, "i": PAD}[values.dtype.kind]
        if name == "context":
            return values
        return np.pad(values, [(0, 0), (0, extra)] + [(0, 0)] * (values.ndim - 2), constant_values=fill)

    padded = SequenceBatch(**{f.name: longer(f.name) for f in fields(SequenceBatch)})
    assert_same(model.predict(padded), model.predict(batch))


def test_an_example_without_any_step_and_an_empty_batch_are_answered(model, batch):
    nothing = batch.select([0])
    nothing = replace(
        nothing,
        values=np.full_like(nothing.values, np.nan),
        support=np.full_like(nothing.support, np.nan),
        aux=np.full_like(nothing.aux, np.nan),
        mask=np.zeros_like(nothing.mask),
        week=np.full_like(nothing.week, PAD),
        grade_level=np.full_like(nothing.grade_level, PAD),
    )
    mixed = concatenate_batches([batch, nothing])
    answer = model.predict(mixed)
    assert all(np.isfinite(p).all() for p in answer.values())
    assert_same(model.predict(batch), answer, slice(0, batch.n_examples))
    assert all(p.shape == (0,) for p in model.predict(batch.select([])).values())


def test_the_batch_is_not_changed(model, batch):
    before = {f.name: getattr(batch, f.name).copy() for f in fields(SequenceBatch)}
    model.predict(batch)
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(batch, name), values)


def test_the_same_seed_gives_the_same_model(model, kind, cohorts, batch):
    assert_same(fitted(kind, cohorts).predict(batch), model.predict(batch))


def test_a_saved_model_answers_the_same(model, batch, tmp_path):
    model.save(tmp_path / "model")
    again = type(model).load(tmp_path / "model")
    assert_same(again.predict(batch), model.predict(batch))


@pytest.mark.parametrize("name", sorted(MAKERS))
@pytest.mark.parametrize("events", [0, 3])
def test_few_events_are_learned_from_or_refused(name, events, cohorts, batch):
    train = cohorts[0]
    keep = np.flatnonzero(train.outcomes.event_day != NEVER)[:events]
    days = np.full_like(train.outcomes.event_day, NEVER)
    days[keep] = train.outcomes.event_day[keep]
    end = np.where(days == NEVER, train.outcomes.as_of_day, days).astype(np.int32)
    few = replace(train, outcomes=replace(train.outcomes, event_day=days, followed_until=end))
    model = MAKERS[name]()
    refusal = None
    try:
        model.fit(few, cohorts[1], tasks=TASKS, window_weeks=WINDOW, seed=0, progress=quiet)
    except NotEnoughDataError as error:
        refusal = str(error)
    if refusal is None:
        assert events > 0, "a model cannot be learned without events"
        assert all(np.isfinite(p).all() for p in model.predict(batch).values())
    else:
        assert any(character.isdigit() for character in refusal) or "no event" in refusal


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "abc_rule", "chronic_absence", "gru"])
def test_it_finds_the_signal(name, cohorts):
    model = fitted(name, cohorts)
    train = cohorts[0]
    student, step = train.rows()
    rows = labelled_rows(train, student=student, step=step, window_weeks=WINDOW)
    label = task_labels(rows.outcomes, cutoff_day=rows.cutoff_day, task=TASKS[0])
    score = model.predict(rows.batch)["risk_score"]
    assert score[label == 1].mean() > score[(label == 0) & (label != LABEL_UNKNOWN)].mean()
