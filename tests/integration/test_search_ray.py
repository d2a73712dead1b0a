"""A tiny search on a real Ray cluster: trials that finish, are pruned or fail, each a run below the search's own."""

import re
import shutil
import signal
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edupulse_ml.registry.connection import open_client
from edupulse_ml.registry.tracking import PARENT_TAG, tracked_run
from edupulse_ml.training.search.material import trees_folder
from edupulse_ml.training.search.searching import SearchOptions, SearchPlace
from jobs.benchmark_oulad import run_benchmark
from jobs.experiment import set_up
from jobs.reporting import headline_metrics
from jobs.search_records import PARENT_RUN, SearchRecords
from jobs.tuning import DEFAULTS, VALIDATION, differences_from_defaults, judge_refitted, refit, search_experiment
from tests.fakes import judged_history
from tests.fakes import strategies as fake
from tests.fakes.benchmark import Watched, quick_options, simulated_data


class _Clock:
    def now(self):
        return datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    environment = pytest.MonkeyPatch()
    environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        configure_logging=False,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()
    environment.undo()


@pytest.fixture(scope="module")
def experiment():
    return set_up(judged_history.history(), test_year=None, tasks=fake.TASKS, window_weeks=fake.WINDOW, seed=0)


@pytest.fixture
def tracking(tmp_path):
    return f"sqlite:///{tmp_path}/mlflow.db"


def parent_of(tracking, tmp_path, **more):
    return tracked_run(
        tracking, experiment="e", run_name="search", artifact_root=tmp_path / "artifacts", clock=_Clock(), **more
    )


def options(strategy, **more):
    found = fake.options(strategy, seeds=2)
    return replace(found, champion=replace(found.champion, training=replace(found.champion.training, **more)))


def test_two_trials_are_searched_recorded_resumed_and_the_winner_is_fitted_again(
    cluster, experiment, tracking, tmp_path
):
    base = options("gru", epochs=3)

    def search(trials, *, resume):
        return search_experiment(
            experiment,
            base=base,
            options=SearchOptions(trials=trials, concurrent=2, windows=(5,)),
            place=SearchPlace(tmp_path / "search", resume=resume),
        )

    first = search(2, resume=False)
    with parent_of(tracking, tmp_path) as parent:
        records = SearchRecords(first, parent)
        assert first.run(ended=records.trial)
        records.summary()
        records.winner()
    assert first.study.done == 2
    assert first.study.trials[0].parameters["window_weeks"] == fake.WINDOW
    for trial in first.study.trials:
        assert trial.state in {"finished", "pruned"}
        assert list(trial.objectives) == list(range(1, len(trial.objectives) + 1))

    second = search(3, resume=True)
    with parent_of(tracking, tmp_path, resumed_id=second.study.noted(PARENT_RUN)) as resumed:
        assert resumed.run_id == parent.run_id
        records = SearchRecords(second, resumed)
        records.catch_up()
        assert second.run(ended=records.trial)
        assert second.run()  # nothing is missing: no trial is run
    assert second.study.done == 3

    client = open_client(tracking)
    runs = client.search_runs([client.get_run(parent.run_id).info.experiment_id])
    nested = [run for run in runs if run.data.tags.get(PARENT_TAG) == parent.run_id]
    assert sorted(run.data.tags["trial"] for run in nested) == ["0", "1", "2"]
    for run in nested:
        assert run.info.status == {"finished": "FINISHED", "pruned": "KILLED"}[run.data.tags["state"]]
        assert run.data.params["hidden"]
        assert 0 <= run.data.metrics["validation_mean_auc"] <= 1
    assert client.get_run(parent.run_id).data.tags["winner"] in {"0", "1"}

    refitted = refit(experiment, winner=second.winner, base=base, step=fake.quiet, progress=fake.quiet)
    reports = judge_refitted(refitted, created_at="2026-01-05", replicates=20, title="t")
    assert refitted.fitted.trained.model.contract.window_weeks == second.winner.champion.training.window_weeks
    assert {"gru", "gru-seed-2", DEFAULTS, "lightgbm"} <= set(reports["test"].models)
    assert set(reports[VALIDATION].models) == {"gru", "gru-seed-2", DEFAULTS}
    # MLflow refuses other names, after everything has been fitted.
    assert all(re.fullmatch(r"[\w./ -]+", name) for name in headline_metrics(reports["test"]))
    assert {difference.task for difference in differences_from_defaults(reports["test"])} == {
        task.name for task in fake.TASKS
    }


def test_a_trial_that_fails_is_noted_and_the_search_goes_on(cluster, experiment, tmp_path):
    search = search_experiment(
        experiment,
        base=options("boosted"),
        options=SearchOptions(trials=3, concurrent=1, windows=(5,)),
        place=SearchPlace(tmp_path / "search"),
    )
    study = search.study
    number, _ = study.ask()
    study.report(number, epoch=1, objective=0.5)
    study.end(number, "finished")
    # What the next trial reads is gone, so it raises in its worker.
    shutil.rmtree(trees_folder(search.folder, 5))
    for weeks in (5, fake.WINDOW):
        study._study.enqueue_trial({**study.trials[0].parameters, "window_weeks": weeks})
    assert search.run()
    assert [trial.state for trial in study.trials] == ["finished", "failed", "finished"]


def test_an_interrupt_keeps_what_was_done_and_asks_again_for_the_rest(cluster, experiment, tmp_path):
    search = search_experiment(
        experiment,
        base=options("boosted"),
        options=SearchOptions(trials=3, concurrent=1),
        place=SearchPlace(tmp_path / "search"),
    )
    before = signal.getsignal(signal.SIGINT)
    assert not search.run(ended=lambda _: signal.raise_signal(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is before
    done = search.study.done
    assert 1 <= done < 3
    assert {trial.state for trial in search.study.trials} <= {"finished", "interrupted"}
    ended = []
    assert search.run(ended=ended.append)
    assert len(ended) == 3 - done
    assert search.study.done == 3


def test_a_search_that_is_to_stop_keeps_what_was_done_and_asks_again_for_the_rest(cluster, experiment, tmp_path):
    search = search_experiment(
        experiment,
        base=options("boosted"),
        options=SearchOptions(trials=3, concurrent=1),
        place=SearchPlace(tmp_path / "search"),
    )
    assert not search.run(is_stopped=lambda: search.study.done >= 1)
    done = search.study.done
    assert 1 <= done < 3
    assert {trial.state for trial in search.study.trials} <= {"finished", "interrupted"}
    assert search.run()
    assert search.study.done == 3


def test_a_benchmark_searches_settings_first_and_the_ensemble_without_them_stays_beside(cluster, tmp_path):
    def run(watched):
        return run_benchmark(
            simulated_data(),
            options=replace(quick_options(trials=2), defaults=True),
            created_at="2026-01-01T00:00:00Z",
            watch=watched,
            searches=tmp_path / "searches",
        )

    first, again = Watched(), Watched()
    report = run(first)
    assert {"ensemble", "gru", "boosted", "lightgbm", DEFAULTS} <= set(report.models)
    assert any("2 and 2 trials" in note for note in report.context.notes)
    for strategy in ("gru", "boosted"):
        assert sum("trial" in step for step in first.steps[f"search of {strategy}"]) >= 2
    assert run(again).to_json() == report.to_json()
    assert not any(": trial" in step for part in again.steps.values() for step in part)
