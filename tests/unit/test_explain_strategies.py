"""Reasons of trees, ensemble and rules: complete in the logit, zero where nothing is known, true when occluded."""

import numpy as np
import pytest
import torch

from edupulse_ml.core.contract import FEATURE_INDEX, FEATURES
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.sequences import empty_windows
from edupulse_ml.explain.boosted import TreeWindows, given_to_weeks
from edupulse_ml.explain.concepts import CONCEPTS
from edupulse_ml.explain.strategies import explain_model, explainable
from edupulse_ml.models.aggregates import STATISTICS
from tests.fakes.strategies import WINDOW, cohorts, trained, windows

STRATEGIES = ("gru", "boosted", "ensemble", "rules")


@pytest.fixture(scope="module")
def batch():
    return windows(cohorts().calibration).select(slice(0, 80))


@pytest.fixture(scope="module", params=STRATEGIES)
def strategy(request):
    return request.param


@pytest.fixture(scope="module")
def explained(strategy, batch):
    return explainable(trained(strategy).model).attributed(batch)


def logits(explained, z):
    with torch.no_grad():
        return explained.logit(z, torch.arange(len(z))).numpy()


def test_attributions_add_up_to_the_logit_against_the_baseline(strategy, explained):
    difference = logits(explained, explained.z) - logits(explained, torch.zeros_like(explained.z))
    error = np.abs(explained.attribution.sum(axis=(1, 2)) - difference)
    assert np.quantile(error, 0.95) <= (1e-5 if strategy in ("boosted", "rules") else 2e-3)
    assert error.max() <= 0.01


def test_the_logit_explained_is_the_one_that_scores(strategy, explained, batch):
    model = trained(strategy).model
    raw = logits(explained, explained.z)
    score = model.calibrators["risk_score"].apply(1 / (1 + np.exp(-raw.astype(float))))
    np.testing.assert_allclose(score, model.score(batch).risk_score, atol=1e-5)


def test_nothing_is_attributed_to_what_is_not_known(explained, batch):
    unknown = ~np.isfinite(batch.values)
    assert not explained.attribution[unknown].any()
    padding = np.arange(WINDOW)[None, :] >= batch.length[:, None]
    assert not explained.attribution[padding].any()


def test_reasons_move_the_logit_as_they_claim(strategy, explained, batch):
    whole = logits(explained, explained.z)
    shown = 0
    for row, explanation in enumerate(explain_model(trained(strategy).model)(batch)):
        alone = []
        for reason in (*explanation.reasons, *explanation.protective_factors):
            concept = next(concept for concept in CONCEPTS if concept.name == reason.concept)
            z = explained.z[row : row + 1].clone()
            z[:, :, torch.as_tensor(concept.positions)] = 0.0
            with torch.no_grad():
                moved = float(whole[row] - explained.logit(z, torch.tensor([row])).numpy()[0])
            alone.append(np.sign(moved) == np.sign(reason.effect))
        shown += len(alone)
        assert all(alone)
    assert shown > 10


def test_a_student_is_explained_alike_alone_and_in_a_batch(strategy, batch):
    explain = explain_model(trained(strategy).model)
    together = explain(batch)
    for row in (0, 7, 79):
        alone = explain(batch.select([row]))[0]
        assert [reason.text for reason in alone.reasons] == [reason.text for reason in together[row].reasons]
        np.testing.assert_allclose(alone.timeline, together[row].timeline, atol=1e-4)


def test_students_without_records_have_no_reasons(strategy):
    for explanation in explain_model(trained(strategy).model)(empty_windows(3, window_weeks=WINDOW)):
        assert not explanation.reasons
        assert not explanation.protective_factors
        assert not explanation.timeline.any()


def test_the_ensemble_is_the_weighted_sum_of_its_members(batch):
    model = trained("ensemble").model
    of_networks, of_trees = model.stacks["risk_score"].weights
    scores = model.members.scores(batch, model.norms)
    expected = model.stacks["risk_score"].intercept + scores.members(model.task) @ [of_networks, of_trees]
    found = explainable(model).attributed(batch)
    np.testing.assert_allclose(logits(found, found.z), expected, atol=1e-5)


def test_the_rule_gives_the_conditions_that_are_met(batch):
    explanations = explain_model(trained("rules").model)(batch)
    absent = batch.values[:, WINDOW - 1, FEATURE_INDEX["absence_rate_ytd"]] >= 0.10
    suspended = batch.values[:, WINDOW - 1, FEATURE_INDEX["oss_days_ytd"]] >= 0.5
    allowed = {"chronic absence", "suspensions", "failing courses"}
    for row, explanation in enumerate(explanations):
        names = {reason.concept for reason in explanation.reasons}
        assert names <= allowed
        assert not ("chronic absence" in names and not absent[row])
        assert not ("suspensions" in names and not suspended[row])
        assert not explanation.protective_factors
    assert sum(len(explanation.reasons) for explanation in explanations) > 10


WEEKS = [1.0, -2.0, 0.0, 3.0, 1.0, 2.0, -1.0]
"""z-scores of one feature; the third week is not known, and the window has one week of padding."""


@pytest.mark.parametrize(
    ("statistic", "shares"),
    [
        ("last", [0, 0, 0, 0, 0, 0, 1]),
        ("mean_4wk", [0, 0, 0, 3 / 6, 1 / 6, 2 / 6, 0]),
        ("mean_window", [1 / 7, 0, 0, 3 / 7, 1 / 7, 2 / 7, 0]),
        # -1 - 4/6 is below 0: the last week by 5/6 of its z, the others by a sixth of what they add to the mean.
        ("last_less_mean", np.array([1, 0, 0, 3, 1, 2, 5]) / 12),
        # The mean week is 19/6; the slope is above 0.
        ("slope", np.array([0, 26, 0, 0, 5, 22, 0]) / 53),
    ],
)
def test_a_statistic_gives_its_effect_to_the_weeks_that_moved_it_its_way(statistic, shares):
    z = np.zeros((1, 8, len(FEATURES)), dtype=np.float32)
    z[0, :7, 4] = WEEKS
    known = np.ones(z.shape, dtype=bool)
    known[0, 7] = False
    known[0, 2, 4] = False
    found = TreeWindows(z, known, np.array([7], dtype=np.int32), np.zeros((1, 0), dtype=np.float32))
    effect = np.zeros((1, len(STATISTICS), len(FEATURES)))
    effect[0, STATISTICS.index(statistic), 4] = -0.6
    given = given_to_weeks(effect, found)
    np.testing.assert_allclose(given[0, :7, 4], -0.6 * np.asarray(shares), atol=1e-6)
    assert np.abs(given).sum() == pytest.approx(0.6)


def test_a_model_of_another_kind_is_refused():
    class Other:
        strategy = "oracle"

    with pytest.raises(InvalidInputError, match="oracle"):
        explain_model(Other())
