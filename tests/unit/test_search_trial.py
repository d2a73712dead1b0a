"""Trials: all of them on the same rows, shorter windows cut from the longest, and the objective against a slow one."""

from dataclasses import fields, replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edupulse_ml.core.errors import ConflictError, InvalidInputError, NotEnoughDataError
from edupulse_ml.core.outcomes import LABEL_UNKNOWN
from edupulse_ml.evaluation.splits import monthly_landmarks
from edupulse_ml.models.inputs import InputNorms
from edupulse_ml.models.protocol import labelled_rows
from edupulse_ml.training.data import prepare_training
from edupulse_ml.training.search.material import (
    BoostedMaterial,
    JudgedLabels,
    NetworkMaterial,
    judged_steps,
    trees_folder,
    write_material,
)
from edupulse_ml.training.search.searching import SearchOptions, SearchPlace, open_search
from edupulse_ml.training.search.trial import run_trial
from edupulse_ml.training.strategies import train_strategy
from tests.fakes import strategies as fake

WINDOWS = (5, fake.WINDOW)


def base(strategy):
    options = fake.options(strategy)
    return replace(options, champion=replace(options.champion, metadata={}))


@pytest.fixture(scope="module")
def network_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    write_material(fake.cohorts(), tasks=fake.TASKS, base=base("gru"), windows=WINDOWS, folder=folder)
    return folder


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    write_material(fake.cohorts(), tasks=fake.TASKS, base=base("boosted"), windows=WINDOWS, folder=folder)
    return folder


def test_a_shorter_window_is_cut_as_it_would_have_been_made(network_folder):
    cohorts = fake.cohorts()
    cut = NetworkMaterial.load(network_folder, tasks=fake.TASKS).with_window(5)
    options = replace(base("gru").champion.training, window_weeks=5)
    norms = InputNorms.fit(cohorts.train)
    direct = prepare_training(cohorts.train, cohorts.calibration, norms=norms, task=fake.TASKS[0], options=options)
    for item in fields(direct):
        np.testing.assert_array_equal(getattr(cut.prepared, item.name), getattr(direct, item.name), item.name)
    steps = judged_steps(cohorts.calibration, tasks=fake.TASKS, seed=0)
    rows = labelled_rows(cohorts.calibration, student=steps.student, step=steps.step, window_weeks=5)
    inputs = norms.prepare(rows.batch)
    for item in fields(inputs):
        np.testing.assert_array_equal(getattr(cut.windows, item.name), getattr(inputs, item.name), item.name)


def test_trials_are_judged_on_landmarks_of_the_calibration_people():
    cohort = fake.cohorts().calibration
    steps = judged_steps(cohort, tasks=fake.TASKS, seed=0)
    landmark = monthly_landmarks(cohort.block, cohort.eligible)
    assert landmark[steps.student, steps.step].all()
    assert len(steps.student) == landmark.sum()


def test_the_objective_is_the_mean_auc_of_the_tasks_that_can_be_judged():
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, LABEL_UNKNOWN, 0], [1, 1, 0]], dtype=np.int8)
    score = {"a": np.array([0.4, 0.3, 0.5, 0.9]), "b": np.array([0.1, 0.8, 0.9, 0.05]), "c": np.zeros(4)}
    expected = (roc_auc_score([1, 0, 0, 1], score["a"]) + roc_auc_score([0, 1, 1], score["b"][[0, 1, 3]])) / 2
    judged = JudgedLabels(("a", "b", "c"), labels)
    assert judged.mean_auc(score) == pytest.approx(expected)
    assert np.isnan(JudgedLabels(("c",), labels[:, 2:]).mean_auc(score))


def test_a_network_reports_each_epoch_what_would_be_kept(network_folder):
    options = base("gru")
    reports = list(run_trial(network_folder, {}, tasks=fake.TASKS, base=options))
    assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))
    assert [report.finished for report in reports] == [False] * (len(reports) - 1) + [True]
    assert reports[-1].objective == pytest.approx(judged_by_hand(options), abs=1e-6)
    assert reports[-1].objective > 0.6


def test_trees_report_once_and_are_those_that_would_be_served(trees):
    options = base("boosted")
    (report,) = run_trial(trees, {}, tasks=fake.TASKS, base=options)
    assert (report.epoch, report.finished) == (1, True)
    # Calibration may join scores, so the served model's own ranking is compared loosely.
    assert report.objective == pytest.approx(judged_by_hand(options), abs=0.02)
    (shorter,) = run_trial(trees, {"window_weeks": 5, "leaves": 4}, tasks=fake.TASKS, base=options)
    assert shorter.objective != report.objective
    assert BoostedMaterial.load(trees_folder(trees, 5), tasks=fake.TASKS).rows.shape[1] > 200


def judged_by_hand(options):
    """Mean AUC of the model that the existing path trains with these options."""
    cohorts = fake.cohorts()
    trained = train_strategy(cohorts, tasks=fake.TASKS, options=options, progress=fake.quiet)
    steps = judged_steps(cohorts.calibration, tasks=fake.TASKS, seed=0)
    weeks = options.champion.training.window_weeks
    rows = labelled_rows(cohorts.calibration, student=steps.student, step=steps.step, window_weeks=weeks)
    answers = trained.model.predict(rows.batch)
    found = []
    for task in fake.TASKS:
        known = steps.known(task.name)
        found.append(roc_auc_score(steps.labels[task.name][known], answers[task.name][known]))
    return float(np.mean(found))


def test_a_search_is_opened_once_and_resumed_on_the_same_data_only(tmp_path):
    def opened(cohorts, *, resume, windows=(5,), start=None):
        return open_search(
            cohorts,
            tasks=fake.TASKS,
            base=start or base("gru"),
            options=SearchOptions(trials=3, windows=windows),
            place=SearchPlace(tmp_path / "search", resume=resume),
        )

    cohorts = fake.cohorts()
    search = opened(cohorts, resume=False)
    assert search.base.boosted.threads == 1
    number, parameters = search.study.ask()
    assert parameters["window_weeks"] == fake.WINDOW
    search.study.report(number, epoch=1, objective=0.7)
    search.study.end(number, "finished")
    assert search.winner == search.base
    assert not search.found_better

    assert opened(cohorts, resume=True).study.done == 1
    with pytest.raises(ConflictError, match="windows"):
        opened(cohorts, resume=True, windows=(6,))
    others = replace(cohorts, train=replace(cohorts.train, eligible=cohorts.train.eligible & False))
    with pytest.raises(ConflictError, match="data"):
        opened(others, resume=True)
    patient = base("gru")
    patient = replace(
        patient, champion=replace(patient.champion, training=replace(patient.champion.training, patience=9))
    )
    with pytest.raises(ConflictError, match="start"):
        opened(cohorts, resume=True, start=patient)
    with pytest.raises(InvalidInputError, match="4 to 60"):
        opened(cohorts, resume=True, windows=(3,))


def test_too_few_students_are_said_before_any_trial(tmp_path):
    options = base("gru")
    strict = replace(options.champion.training, allow_small=False)
    with pytest.raises(NotEnoughDataError, match="1,000 students"):
        write_material(
            fake.cohorts(),
            tasks=fake.TASKS,
            base=replace(options, champion=replace(options.champion, training=strict)),
            windows=WINDOWS,
            folder=tmp_path,
        )
