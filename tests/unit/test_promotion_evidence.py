"""From models and records to a verdict: each kind of bad candidate is refused for its own reason, and no other."""

from dataclasses import replace

import numpy as np
import pytest

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation.gate import Verdict, judge_candidate
from edupulse_ml.evaluation.promotion_policy import PromotionPolicy, load_policy
from jobs.experiment import set_up
from jobs.promotion import evidence
from jobs.promotion.contenders import Contender
from jobs.promotion.evidence import gather_evidence
from jobs.promotion.reasons import last_weeks, reasons_on_test
from jobs.promotion.spoiled import scores_of_others, with_answers, with_reasons_of_others
from tests.fakes.judged_history import against_newcomers, contender, failed_kinds, history
from tests.fakes.strategies import TASKS, WINDOW

_FIT, _RIVALS = evidence._fit_rivals, {}


def policy() -> PromotionPolicy:
    """The release's policy, with room for networks of eight units and a few hundred students."""
    given = load_policy()
    limits = {"deletion_gain_at_least": 1.3, "recency_gain_at_least": 0.5, "sanity_at_most": 0.5, "students": 100}
    wide = {"surely_worse_by": 0.02, "possibly_worse_by": 0.15}
    changes = {
        "replicates": 100,
        "faithfulness": given.faithfulness.model_copy(update=limits),
        "ranking": given.ranking.model_copy(
            update={name: given.ranking.champion.model_copy(update=wide) for name in ("champion", "lightgbm")}
        ),
        "calibration": given.calibration.model_copy(update={"slope": (0.5, 1.6)}),
        "lists": given.lists.model_copy(update={"advantage_above": -0.1}),
    }
    return given.model_copy(update=changes)


def judge(candidate: Contender, champion: Contender | None) -> Verdict:
    steps: list[str] = []
    found = gather_evidence(history(), candidate, champion, policy=policy(), step=steps.append)
    assert len(steps) == 4
    return judge_candidate(found, policy())


def newer(original: Contender) -> Contender:
    return replace(original, version=ModelVersion("2"))


@pytest.fixture(autouse=True)
def _rivals_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rivals depend on the history and the split's seed alone, and all tests share one history."""

    def fit(experiment, *, seed):
        if seed not in _RIVALS:
            _RIVALS[seed] = _FIT(experiment, seed=seed)
        return _RIVALS[seed]

    monkeypatch.setattr(evidence, "_fit_rivals", fit)


@pytest.fixture(scope="module")
def good() -> Contender:
    return contender()


def test_a_model_as_good_as_the_champion_is_promoted(good: Contender) -> None:
    verdict = judge(newer(good), good)
    assert verdict.passed, [rule.sentence for rule in verdict.failed]
    assert (verdict.candidate, verdict.champion) == ("2", "1")
    same = [rule for rule in verdict.results if "champion" in rule.name]
    assert {rule.figure.value for rule in same} == {0.0}
    assert len(same) == 4


def test_a_worse_model_is_refused_for_its_ranking(good: Contender) -> None:
    worse = with_answers(good, "worse", scores_of_others)
    kinds = failed_kinds([rule.name for rule in judge(worse, good).failed])
    assert "not worse than the champion" in kinds
    assert "not worse than LightGBM" in kinds
    assert not {kind for kind in kinds if kind.startswith(("faithfulness", "parity", "fairness"))}


def test_a_less_fair_model_is_refused_for_both_errors(good: Contender) -> None:
    # A champion that is as unfair: nothing but fairness (and calibration) can tell.
    unfair = with_answers(good, "less-fair", against_newcomers)
    verdict = judge(unfair, None)
    failed = [rule.name for rule in verdict.failed]
    assert "fairness: false alarms by sex" in failed
    assert "fairness: missed leavers by sex" in failed
    assert not [name for name in failed if name.startswith(("faithfulness", "parity"))]
    (missed,) = [rule for rule in verdict.failed if rule.name == "fairness: missed leavers by sex"]
    assert "m exceeds f by" in missed.sentence


def test_a_model_with_reasons_of_others_is_refused_for_them_alone(good: Contender) -> None:
    unfaithful = with_reasons_of_others(good)
    verdict = judge(unfaithful, good)
    assert failed_kinds([rule.name for rule in verdict.failed]) == {"faithfulness"}
    assert "faithfulness F4: completeness error" in [rule.name for rule in verdict.failed]


def test_a_model_served_in_another_way_than_it_was_trained_is_refused(good: Contender) -> None:
    apart = replace(newer(good), reference=contender(seed=1).model)
    verdict = judge(apart, good)
    assert [rule.name for rule in verdict.failed] == ["parity of the served engine"]


def test_every_strategy_can_be_judged_beside_every_other(good: Contender) -> None:
    for strategy in ("boosted", "ensemble", "rules"):
        other = newer(contender(strategy=strategy))
        verdict = judge(other, good)
        assert len(verdict.results) > 15
        parity = next(rule for rule in verdict.results if rule.name.startswith("parity"))
        assert parity.figure.value == 0.0


def test_people_whom_the_champion_has_learned_from_judge_nobody(good: Contender) -> None:
    other_split = contender(version="9", split_seed=1)
    alone = gather_evidence(history(), newer(good), None, policy=policy(), step=lambda _: None)
    together = gather_evidence(history(), newer(good), other_split, policy=policy(), step=lambda _: None)
    assert alone.n_left_out == 0
    assert together.n_left_out > 0
    assert together.n_students == alone.n_students - together.n_left_out
    same_split = gather_evidence(history(), newer(good), good, policy=policy(), step=lambda _: None)
    assert same_split.n_left_out == 0


def test_a_champion_that_answers_another_question_blocks_the_comparison(good: Contender) -> None:
    class Longer:
        def __init__(self, inner: object) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        @property
        def task(self):
            return replace(good.model.task, end_day=90)

    verdict = judge(newer(good), replace(good, model=Longer(good.model)))
    assert [rule.name for rule in verdict.failed] == ["champion"]
    assert "180" in verdict.failed[0].sentence


def test_the_same_evidence_gives_the_same_verdict(good: Contender) -> None:
    first, second = (judge(newer(good), good) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert np.isfinite([rule.figure.value for rule in first.results if rule.figure.value is not None]).all()


def test_rows_are_flagged_on_the_list_of_their_month() -> None:
    experiment = set_up(history(), test_year=None, tasks=TASKS, window_weeks=WINDOW, seed=0)
    rows, _ = evidence._judged_rows(history(), experiment, None)
    scores = {"candidate": {TASKS[0].name: np.zeros(len(rows.student))}}
    judged = evidence._labelled(experiment, rows, scores, TASKS[0], shortened=True)
    assert len(judged.landmark) == len(judged.label)
    months, students_of = (
        np.unique(judged.landmark),
        [judged.student[judged.landmark == m] for m in np.unique(judged.landmark)],
    )
    assert len(months) > 3
    assert all(len(np.unique(students)) == len(students) for students in students_of)


def test_the_last_row_of_each_person_is_found() -> None:
    assert last_weeks(np.array([4, 4, 4, 2, 2, 9], np.int32)).tolist() == [2, 4, 5]
    assert last_weeks(np.array([1, 2, 1, 2, 2], np.int32)).tolist() == [2, 4]
    assert last_weeks(np.zeros(0, np.int32)).tolist() == []


def test_a_report_tells_of_the_reasons_too(good: Contender) -> None:
    experiment = set_up(history(), test_year=None, tasks=TASKS, window_weeks=WINDOW, seed=0)
    found = reasons_on_test(experiment, good.model)
    assert found.n_students == round(0.25 * len(np.unique(experiment.test.rows()[0])))
    assert found.polarity.value > 0.95
    assert found.completeness.value < 0.01
