"""The study on disk: what ended stays, what was running is asked for again, what ASHA stopped is called so."""

import math

import pytest

from edupulse_ml.core.errors import ConflictError, NotFoundError
from edupulse_ml.training.search.figures import IMPORTANCE, PARALLEL, draw_search, importance
from edupulse_ml.training.search.space import Dimension
from edupulse_ml.training.search.study import SearchStudy

SPACE = {
    "rate": Dimension("", 0.001, 1.0, log=True),
    "leaves": Dimension("", 2, 9),
    "heads": Dimension("", values=(1, 2, 4)),
}
START = {"rate": 0.1, "leaves": 5, "heads": 2}
ABOUT = {"strategy": "gru", "data": "abc"}


def create(folder):
    return SearchStudy.create(folder, space=SPACE, about=ABOUT, start=START, seed=0)


def resume(folder, **about):
    return SearchStudy.resume(folder, space=SPACE, about=ABOUT | about, seed=0)


def run(study, values, state="finished"):
    number, parameters = study.ask()
    for epoch, value in enumerate(values, start=1):
        study.report(number, epoch=epoch, objective=value)
    return study.end(number, state), parameters


def test_the_first_trial_has_the_settings_that_the_search_starts_from(tmp_path):
    study = create(tmp_path)
    assert study.start is None
    record, parameters = run(study, [0.5, 0.6])
    assert parameters == START
    assert (record.number, record.state, record.value) == (0, "finished", 0.6)
    assert record.objectives == {1: 0.5, 2: 0.6}
    _, second = run(study, [0.4])
    assert second != START
    assert SPACE["rate"].low <= second["rate"] <= SPACE["rate"].high
    assert study.start == study.best == record


def test_an_epoch_that_is_reported_twice_counts_once(tmp_path):
    study = create(tmp_path)
    number, _ = study.ask()
    for objective in (0.7, 0.8):
        study.report(number, epoch=1, objective=objective)
    assert study.end(number, "finished").objectives == {1: 0.7}


def test_pruned_and_failed_trials_count_as_done_but_never_win(tmp_path):
    study = create(tmp_path)
    run(study, [0.5])
    pruned, _ = run(study, [0.9], "pruned")
    failed, _ = run(study, [], "failed")
    without_any, _ = run(study, [float("nan")])
    assert [trial.state for trial in study.trials] == ["finished", "pruned", "failed", "failed"]
    assert (pruned.value, failed.value, without_any.value) == (0.9, None, None)
    assert study.done == 4
    assert study.best.number == 0


def test_nothing_wins_where_nothing_finished(tmp_path):
    study = create(tmp_path)
    run(study, [0.5], "pruned")
    with pytest.raises(ConflictError, match="No trial"):
        _ = study.best


def test_a_killed_driver_loses_only_what_was_running(tmp_path):
    study = create(tmp_path)
    run(study, [0.5])
    number, running = study.ask()
    study.report(number, epoch=1, objective=0.45)
    study.note("run", "r1")
    del study  # as a killed process leaves it

    again = resume(tmp_path)
    assert [trial.state for trial in again.trials] == ["finished", "interrupted"]
    assert again.done == 1
    assert again.noted("run") == "r1"
    assert again.noted("other") is None
    record, repeated = run(again, [0.7])
    assert repeated == running
    assert (record.number, again.best.number, again.done) == (2, 2, 2)


def test_the_start_is_found_again_after_it_was_interrupted(tmp_path):
    study = create(tmp_path)
    study.ask()
    study.put_back_running()
    record, parameters = run(study, [0.5])
    assert parameters == START
    assert study.start == record
    assert [trial.state for trial in study.trials] == ["interrupted", "finished"]


def test_a_study_is_neither_overwritten_nor_mixed_with_another(tmp_path):
    with pytest.raises(NotFoundError, match="no search"):
        resume(tmp_path)
    create(tmp_path)
    with pytest.raises(ConflictError, match="holds a search already"):
        create(tmp_path)
    with pytest.raises(ConflictError, match="differs from this one in data, strategy:"):
        resume(tmp_path, data="def", strategy="boosted")


def test_the_setting_that_decides_has_the_greatest_weight(tmp_path):
    study = create(tmp_path)
    assert importance(study) == {}
    assert draw_search(study, tmp_path / "none") == ()
    for _ in range(12):
        number, parameters = study.ask()
        study.report(number, epoch=1, objective=0.5 + 0.1 * math.log10(parameters["rate"]))
        study.end(number, "pruned" if number % 3 else "finished")
    share = importance(study)
    assert sum(share.values()) == pytest.approx(1.0)
    assert max(share, key=share.get) == "rate"
    drawn = draw_search(study, tmp_path / "pictures")
    assert [path.stem for path in drawn] == [IMPORTANCE, PARALLEL]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_a_driver_that_goes_on_draws_other_settings_than_the_one_before(tmp_path):
    study = create(tmp_path)
    first = [run(study, [0.5])[1] for _ in range(3)]
    again = resume(tmp_path)
    later = [run(again, [0.5])[1] for _ in range(2)]
    assert all(parameters not in first for parameters in later)
