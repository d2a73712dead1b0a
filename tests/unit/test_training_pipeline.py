"""From cohorts to an artefact, and the rivals beside it."""

from dataclasses import replace

import numpy as np
import pytest

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.outcomes import EARLY_TASK, LABEL_UNKNOWN, Task, risk_task, task_labels
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.gru import RiskNetConfig
from edupulse_ml.models.protocol import labelled_rows
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions, RivalOptions, fit_here, fit_rivals, train_champion
from tests.fakes.training_data import make_training_data

TRAINING = TrainingOptions(
    window_weeks=8,
    epochs=4,
    batch_size=64,
    validation_rows=500,
    allow_small=True,
    network=RiskNetConfig(hidden=16, attention=16, fusion=16),
)
TASKS = (risk_task(), Task("any", 0, 365))


def quiet(metrics):
    del metrics


@pytest.fixture(scope="module")
def cohorts():
    return [make_training_data(n_students=500, n_weeks=14, seed=seed, hazard=0.001) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def trained(cohorts):
    options = ChampionOptions(training=TRAINING, policy_version="3", metadata={"district": "demo"})
    return train_champion(cohorts[0], cohorts[1], tasks=TASKS, options=options, progress=quiet)


def rows_of(data):
    student, step = data.rows()
    return labelled_rows(data, student=student, step=step, window_weeks=8)


def test_the_artefact_answers_every_task_and_the_early_one(trained, cohorts):
    artifact = trained.artifact
    assert [task.name for task in artifact.tasks] == ["risk_score", "any", EARLY_TASK.name]
    assert artifact.contract.window_weeks == 8
    assert artifact.policy.version == "3"
    assert artifact.metadata["district"] == "demo"
    assert artifact.metadata["best_epoch"] == str(trained.best_epoch)
    assert len(trained.history) == 4
    answers = artifact.predict(rows_of(cohorts[2]).batch)
    assert set(answers) == {"risk_score", "any", EARLY_TASK.name}
    assert np.all(answers["any"] > 0)


def test_scores_are_calibrated_on_the_calibration_cohort(trained, cohorts):
    rows = rows_of(cohorts[1])
    label = task_labels(rows.outcomes, cutoff_day=rows.cutoff_day, task=TASKS[0])
    score = trained.artifact.score(rows.batch).risk_score
    known = label != LABEL_UNKNOWN
    assert score[known].mean() == pytest.approx(label[known].mean(), rel=0.1)


def test_later_leavers_of_another_cohort_score_higher(trained, cohorts):
    rows = rows_of(cohorts[2])
    label = task_labels(rows.outcomes, cutoff_day=rows.cutoff_day, task=TASKS[0])
    score = trained.artifact.score(rows.batch).risk_score
    assert score[label == 1].mean() > 1.15 * score[label == 0].mean()


def test_critical_is_no_more_than_capacity(trained, cohorts):
    scores = trained.artifact.score(rows_of(cohorts[1]).batch).risk_score
    assert (scores >= trained.artifact.policy.critical_from).mean() <= TRAINING.capacity_share + 0.005


def test_the_artefact_goes_to_disk_and_back(trained, cohorts, tmp_path):
    trained.artifact.save(tmp_path)
    batch = rows_of(cohorts[2]).batch
    loaded = ModelArtifact.load(tmp_path)
    np.testing.assert_allclose(
        loaded.score(batch).risk_score, trained.artifact.score(batch).risk_score, atol=1e-5, rtol=1e-4
    )


def test_another_fitter_takes_the_place_of_this_process(cohorts):
    calls = []

    def recorded(prepared, options, task, progress):
        calls.append(task.name)
        return fit_here(prepared, replace(options, epochs=1), task, progress)

    options = ChampionOptions(training=TRAINING)
    trained = train_champion(cohorts[0], cohorts[1], tasks=TASKS, options=options, progress=quiet, fitter=recorded)
    assert calls == ["risk_score"]
    assert len(trained.history) == 1


def test_small_data_and_an_empty_calibration_cohort_are_refused(cohorts):
    strict = ChampionOptions(training=replace(TRAINING, allow_small=False))
    with pytest.raises(NotEnoughDataError, match="1,000 students"):
        train_champion(cohorts[0], cohorts[1], tasks=TASKS, options=strict, progress=quiet)
    empty = replace(cohorts[1], eligible=np.zeros_like(cohorts[1].eligible))
    small = ChampionOptions(training=replace(TRAINING, epochs=1))
    with pytest.raises(NotEnoughDataError, match="no eligible student-week"):
        train_champion(cohorts[0], empty, tasks=TASKS, options=small, progress=quiet)


@pytest.fixture(scope="module")
def more_leavers():
    return make_training_data(n_students=400, n_weeks=14, seed=5, hazard=0.004)


def test_rivals_are_calibrated_on_the_calibration_cohort_as_the_champion_is(cohorts, more_leavers):
    rivals = fit_rivals(cohorts[0], more_leavers, tasks=TASKS, options=RivalOptions(8, 0), progress=quiet)
    assert [rival.name for rival in rivals] == [
        "base_rate", "chronic_absence", "abc_rule", "logistic", "mlp_last_week", "lightgbm",
    ]  # fmt: skip
    rows = rows_of(more_leavers)
    for rival in rivals:
        scores = rival.predict(rows.batch)
        assert set(scores) == {"risk_score", "any"}
        for task in TASKS:
            label = task_labels(rows.outcomes, cutoff_day=rows.cutoff_day, task=task)
            known = label != LABEL_UNKNOWN
            assert scores[task.name][known].mean() == pytest.approx(label[known].mean(), rel=0.03)


def test_rivals_are_calibrated_on_held_out_people_where_the_calibration_cohort_has_no_events(cohorts, more_leavers):
    calm = replace(cohorts[1].outcomes, event_day=np.full_like(cohorts[1].outcomes.event_day, NEVER))
    without = replace(cohorts[1], outcomes=calm)

    def rule(*, held_out, allow_small):
        return fit_rivals(
            cohorts[0],
            without,
            tasks=TASKS[:1],
            options=RivalOptions(8, 0, allow_small=allow_small),
            progress=quiet,
            held_out=held_out,
        )[1]

    rows = rows_of(more_leavers)
    label = task_labels(rows.outcomes, cutoff_day=rows.cutoff_day, task=TASKS[0])
    known = label != LABEL_UNKNOWN
    mean = rule(held_out=more_leavers, allow_small=False).predict(rows.batch)["risk_score"][known].mean()
    assert mean == pytest.approx(label[known].mean(), rel=0.03)
    raw = rule(held_out=None, allow_small=True).predict(rows.batch)["risk_score"][known].mean()
    assert raw < 0.7 * mean
    with pytest.raises(NotEnoughDataError, match="0 students with the event"):
        rule(held_out=None, allow_small=False)
