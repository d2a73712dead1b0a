"""A drill of the gate: copies that are bad on purpose are refused for what is wrong with them, or the drill says so."""

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from edupulse_ml.evaluation.gate import judge_candidate
from edupulse_ml.evaluation.promotion_policy import PromotionPolicy, load_policy
from edupulse_ml.evaluation.report import Figure
from edupulse_ml.models.protocol import labelled_rows
from jobs import gate_drill
from jobs.experiment import set_up
from jobs.gate_drill import SAME, DrillResult, SpoiledCopy, drill, show_drill, spoiled_copies
from jobs.promotion.spoiled import RaisedGroup, most_even_group
from tests.fakes.judged_history import contender, failed_kinds, history
from tests.fakes.strategies import TASKS, WINDOW
from tests.unit.test_gate import GOOD, faithful, gap, ranking
from tests.unit.test_promotion_evidence import policy


def run(given: PromotionPolicy):
    steps: list[str] = []
    found = drill(history(), contender(), policy=given, step=steps.append)
    assert {step.split(":")[0] for step in steps} == {SAME, "worse", "unfaithful", "less fair"}
    return {result.copy.name.split(":")[0]: result for result in found}


def shown(results) -> str:
    page = StringIO()
    show_drill(list(results.values()), Console(file=page, width=160))
    return page.getvalue()


def told(result: DrillResult, rule: str) -> str:
    (found,) = [each.outcome for each in result.verdict.results if each.name.startswith(rule)]
    return found


def test_each_copy_is_refused_for_what_is_wrong_with_it() -> None:
    results = run(policy())
    assert results[SAME].verdict.passed, [rule.sentence for rule in results[SAME].verdict.failed]
    assert all(result.right for result in results.values())
    kinds = {name: failed_kinds([rule.name for rule in result.newly_failed]) for name, result in results.items()}
    assert kinds[SAME] == set()
    assert kinds["unfaithful"] == {"faithfulness"}
    assert "fairness" in kinds["less fair"]
    assert not {"faithfulness", "parity of the served engine"} & kinds["less fair"]
    assert "not worse than LightGBM" in kinds["worse"]
    assert "fairness" not in kinds["worse"]
    sanity = {name: told(result, "faithfulness F5") for name, result in results.items()}
    assert set(sanity.values()) <= {"passed", "failed"}, "the networks behind a copy's reasons are the model's"
    text = shown(results)
    assert text.count("refused") == 3
    assert "but not for what is wrong" not in text


def test_a_policy_that_is_blind_is_told_of() -> None:
    given = policy()
    blind = given.model_copy(
        update={"fairness": given.fairness.model_copy(update={"gap_at_most": 1.0}), "too_few_to_tell": "pass"}
    )
    results = run(blind)
    assert not results["less fair"].right
    assert results["worse"].right
    assert "but not for what is wrong with it" in shown(results)


def test_where_too_few_to_tell_refuses_a_copy_is_refused_by_what_the_model_itself_is_not_known_to_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model's own gap is too uncertain to tell, which counts as failed; the less fair copy's is surely too wide."""
    untold, failed = gap(low=0.0, high=0.3), gap(low=0.2, high=0.4, value=0.3)

    def gathered(past, candidate, champion, *, policy, step):
        of_copy = replace(GOOD, candidate=candidate.version, fairness=(untold,))
        if candidate.version.endswith("-less-fair"):
            return replace(of_copy, fairness=(failed,))
        if candidate.version.endswith("-worse"):
            return replace(of_copy, ranking=(ranking(low=-0.3, high=-0.2),))
        if candidate.version.endswith("-unfaithful"):
            return replace(of_copy, faithfulness=faithful(polarity=Figure(0.5)))
        return of_copy

    monkeypatch.setattr(gate_drill, "gather_evidence", gathered)
    strict = load_policy().model_copy(update={"too_few_to_tell": "refuse"})
    found = drill(history(), contender(), policy=strict, step=lambda _: None)
    results = {result.copy.name.split(":")[0]: result for result in found}
    assert {name: result.right for name, result in results.items()} == dict.fromkeys(results, True)
    assert not results[SAME].verdict.passed
    assert [rule.figure.low for rule in results["less fair"].newly_failed] == [0.2]
    assert {rule.name for rule in results["worse"].newly_failed} == {
        "not worse than the champion: auc of risk_score",
        "fairness: missed leavers by sex",
    }


def test_a_rule_that_the_model_itself_surely_fails_shows_nothing_of_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def gathered(past, candidate, champion, *, policy, step):
        return replace(GOOD, candidate=candidate.version, fairness=(gap(low=0.2, high=0.4, value=0.3),))

    monkeypatch.setattr(gate_drill, "gather_evidence", gathered)
    for choice in ("pass", "refuse"):
        given = load_policy().model_copy(update={"too_few_to_tell": choice})
        found = drill(history(), contender(), policy=given, step=lambda _: None)
        assert [result.newly_failed for result in found] == [()] * 4
        assert [result.right for result in found] == [True, False, False, False]


def test_what_the_gate_said_of_a_copy_is_told_with_what_is_wrong_with_it() -> None:
    passing = judge_candidate(GOOD, load_policy())
    refused = judge_candidate(replace(GOOD, fairness=(gap(low=0.2, high=0.4, value=0.3),)), load_policy())
    same, less_fair = SpoiledCopy(SAME, "", contender()), SpoiledCopy("less fair", "fairness", contender())
    assert DrillResult(same, passing, ()).said == "passes"
    assert DrillResult(less_fair, passing, ()).said == "passes: must be refused"
    assert DrillResult(less_fair, refused, refused.failed).said == "refused"
    assert DrillResult(less_fair, refused, ()).said == "refused, but not for what is wrong with it"
    assert "passes: must be refused" in shown({"": DrillResult(less_fair, passing, ())})


def test_no_large_group_no_copy_that_is_less_fair() -> None:
    without = replace(history(), audit={"sex": ["f"] * 1600, "homeless": [None] * 1600})
    assert most_even_group(without) is None
    assert [copy.refused_for for copy in spoiled_copies(without, contender())][1:] == [
        "not worse than the champion",
        "faithfulness",
    ]
    lone = replace(history(), audit={"sex": ["f"] * 1450 + ["m"] * 150})
    assert most_even_group(lone) is None
    even = replace(history(), audit={"sex": ["f"] * 1000 + ["m"] * 600, "race": ["a"] * 790 + ["b"] * 810})
    assert most_even_group(even) == ("race", "a")


def test_members_of_the_group_are_known_by_their_records() -> None:
    past = history()
    attribute, group = most_even_group(past) or ("", "")
    raise_group = RaisedGroup.of(past, attribute, group)
    experiment = set_up(past, test_year=None, tasks=TASKS, window_weeks=WINDOW, seed=0)
    student, step = (column[:500] for column in experiment.test.rows())
    batch = labelled_rows(experiment.test, student=student, step=step, window_weeks=WINDOW).batch
    answer = raise_group(np.full(len(student), 0.02), batch)
    belongs = np.array([past.audit[attribute][who] == group for who in student])
    assert belongs.any()
    assert not belongs.all()
    assert (answer[belongs] > 0.5).all()
    assert answer[~belongs] == pytest.approx(0.02)
