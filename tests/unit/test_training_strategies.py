"""How the strategies are put together: seeds, weights, cohorts, what is told of them."""

from dataclasses import replace

import numpy as np
import pytest

from edupulse_ml.core.contract import FEATURES
from edupulse_ml.core.outcomes import EARLY_TASK
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.models.aggregates import AGGREGATE_NAMES, feature_statistics, other_columns
from edupulse_ml.models.strategies.ensemble import interval_logits
from edupulse_ml.training.pipeline import fit_here
from edupulse_ml.training.strategies import StrategyOptions, train_strategy
from tests.fakes.strategies import TASKS, cohorts, options, quiet, trained, windows


@pytest.fixture(scope="module")
def batch():
    return windows(cohorts().calibration).select(slice(0, 60))


def test_each_member_of_an_ensemble_has_the_next_seed(batch):
    seeds = []

    def noted(prepared, training, task, progress):
        seeds.append(training.seed)
        return fit_here(prepared, replace(training, epochs=1), task, progress)

    found = train_strategy(
        cohorts(), tasks=TASKS, options=options("ensemble", seeds=3, seed=5), progress=quiet, fitter=noted
    )
    assert seeds == [5, 6, 7]
    assert len(found.history) == 3
    assert found.model.metadata["seeds"] == "3"
    first, second, third = found.model.members.scores(batch, found.model.norms).network_logits
    assert not np.allclose(first, second)
    assert not np.allclose(second, third)
    trees = [booster.model_to_string() for booster in found.model.members.trees.boosters["risk_score"]]
    assert len(set(trees)) == 3


def test_the_networks_alone_stand_in_the_report(batch):
    found = trained("ensemble")
    assert set(found.members) == {"gru"}
    alone, together = found.members["gru"](batch), found.model.predict(batch)
    assert set(alone) == set(together) == {"risk_score", EARLY_TASK.name}
    scores = found.model.members.scores(batch, found.model.norms)
    mean = np.mean([interval_logits(logits, TASKS[0]) for logits in scores.network_logits], axis=0)
    order = np.argsort(mean)
    assert np.all(np.diff(alone["risk_score"][order]) >= 0)
    assert np.abs(alone["risk_score"] - together["risk_score"]).max() > 1e-4


def test_weights_are_kept_in_words_and_are_not_negative():
    model = trained("ensemble").model
    for task in TASKS:
        assert min(model.stacks[task.name].weights) >= 0
        assert model.metadata[f"weights.{task.name}"].startswith("networks ")


def without_leavers(data, *, keep):
    days = data.outcomes.event_day
    gone = np.flatnonzero(days != NEVER)[keep:]
    event_day, followed = days.copy(), data.outcomes.followed_until.copy()
    event_day[gone], followed[gone] = NEVER, data.outcomes.as_of_day
    return replace(data, outcomes=replace(data.outcomes, event_day=event_day, followed_until=followed))


def test_too_few_leavers_to_weigh_by_leave_the_weights_equal():
    few = replace(cohorts(), calibration=without_leavers(cohorts().calibration, keep=6))
    found = train_strategy(few, tasks=TASKS, options=options("ensemble", seeds=1), progress=quiet)
    assert found.model.stacks["risk_score"].weights == (0.5, 0.5)
    assert found.model.calibrators["risk_score"].method == "identity"


def test_a_question_without_events_is_weighed_on_the_held_out_people():
    few = without_leavers(cohorts().calibration, keep=6)
    both = replace(cohorts(), calibration=few, held_out=cohorts().calibration)
    found = train_strategy(both, tasks=TASKS, options=options("ensemble", seeds=1), progress=quiet)
    assert found.model.calibrators["risk_score"].students_with_event > 10
    assert found.model.stacks["risk_score"].weights != (0.5, 0.5)


def test_options_are_told_as_flat_parameters():
    told = options("ensemble").as_parameters()
    assert told["strategy"] == "ensemble"
    assert told["seeds"] == 2
    assert told["boosted.rounds"] == 25
    assert all(isinstance(value, str | int | float | bool) for value in told.values())


def test_more_of_what_is_worse_in_every_week_never_lowers_the_risk_of_monotone_trees(batch):
    monotone = options("boosted")
    assert StrategyOptions().boosted.monotone
    monotone = replace(monotone, boosted=replace(monotone.boosted, monotone=True, rounds=60))
    model = train_strategy(cohorts(), tasks=TASKS, options=monotone, progress=quiet).model
    z = model.norms.standardise(batch, keep_missing=True)

    def logits(moved):
        rows = np.concatenate([feature_statistics(moved, batch.length), other_columns(batch)], axis=1)
        return model.trees.logit(rows, "risk_score")

    before = logits(z)
    (booster,) = model.trees.boosters["risk_score"]
    used = booster.feature_importance()
    moves = 0.0
    for position, column in enumerate(FEATURES):
        if column.monotone:
            moved = z.copy()
            moved[:, :, position] += 2.0 * column.monotone
            change = logits(moved) - before
            assert change.min() >= -1e-9, column.name
            moves += change.max()
    assert moves > 0
    assert len(used) == len(AGGREGATE_NAMES)
