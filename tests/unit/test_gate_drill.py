"""A drill of the gate: copies that are bad on purpose are refused for what is wrong with them, or the drill says so."""

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from edupulse_ml.evaluation.promotion_policy import PromotionPolicy
from edupulse_ml.models.protocol import labelled_rows
from jobs.experiment import set_up
from jobs.gate_drill import SAME, drill, show_drill, spoiled_copies
from jobs.promotion.spoiled import RaisedGroup, most_even_group
from tests.fakes.judged_history import contender, failed_kinds, history
from tests.fakes.strategies import TASKS, WINDOW
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
