"""The verdict: each rule alone decides, on both sides of its limit."""

from dataclasses import replace

import pytest

from edupulse_ml.evaluation.faithfulness import Curves, Faithfulness
from edupulse_ml.evaluation.gate import judge_candidate
from edupulse_ml.evaluation.gate_evidence import (
    CalibrationFigures,
    FairnessGap,
    GateEvidence,
    ListComparison,
    Parity,
    RankingComparison,
)
from edupulse_ml.evaluation.promotion_policy import load_policy
from edupulse_ml.evaluation.report import Figure

POLICY = load_policy()
UNTOLD = Figure(None, reason="too few students to say")


def faithful(**figures: Figure) -> Faithfulness:
    good = Faithfulness(
        n_students=500,
        n_reasons=900,
        deletion_gain=Figure(4.5),
        recency_gain=Figure(1.3),
        polarity=Figure(0.99),
        completeness=Figure(0.001),
        sanity=Figure(0.05),
        seed_overlap=Figure(0.7),
        noise_overlap=Figure(0.95),
        curves=Curves(2.0, 0.5, 1.0),
    )
    return replace(good, **figures)


def ranking(opponent="champion", low=-0.01, high=0.03) -> RankingComparison:
    return RankingComparison(opponent, "risk_score", "auc", 0.8, 0.79, Figure(0.01, low, high))


SLOPE, ECE = Figure(1.0, 0.95, 1.05), Figure(0.004, 0.0, 0.008)


def calibration(slope=SLOPE, ece=ECE, base_rate=0.03) -> CalibrationFigures:
    return CalibrationFigures("risk_score", base_rate, slope, ece)


def gap(low=0.0, high=0.08, value=0.04, error="missed leavers") -> FairnessGap:
    return FairnessGap("sex", error, "male", "female", Figure(value, low, high))


GOOD = GateEvidence(
    candidate="7",
    champion="6",
    n_rows=9000,
    n_students=1200,
    ranking=(ranking(), ranking("lightgbm")),
    lists=(ListComparison("risk_score", 0.1, 0.2, 0.1, Figure(0.1, 0.05, 0.15)),),
    calibration=(calibration(),),
    fairness=(gap(), gap(error="false alarms")),
    faithfulness=faithful(),
    parity=Parity("onnx", "torch", 1e-7, 1e-8),
)


def names_failed(evidence: GateEvidence, policy=POLICY) -> list[str]:
    return [result.name for result in judge_candidate(evidence, policy).failed]


def test_a_candidate_that_meets_every_rule_passes() -> None:
    verdict = judge_candidate(GOOD, POLICY)
    assert verdict.passed
    assert verdict.policy_version == POLICY.version
    assert {result.outcome for result in verdict.results} == {"passed"}
    assert all(result.sentence[0].isupper() and result.sentence.endswith(".") for result in verdict.results)


@pytest.mark.parametrize("opponent", ["champion", "lightgbm"])
@pytest.mark.parametrize(
    ("low", "high", "fails"),
    [
        (-0.05, 0.02, False),
        (-0.0501, 0.02, True),  # it may be worse by too much
        (-0.02, -0.005, False),
        (-0.02, -0.0051, True),  # it is surely worse
    ],
)
def test_worse_than_a_rival_is_refused(opponent, low: float, high: float, fails: bool) -> None:
    failed = names_failed(replace(GOOD, ranking=(ranking(opponent, low, high),)))
    assert bool(failed) is fails
    if fails:
        assert ("champion" if opponent == "champion" else "LightGBM") in failed[0]


@pytest.mark.parametrize(("low", "fails"), [(0.0, True), (0.001, False), (-0.02, True)])
def test_the_abc_rule_must_be_beaten(low: float, fails: bool) -> None:
    lists = (ListComparison("risk_score", 0.05, 0.2, 0.1, Figure(0.1, low, 0.2)),)
    assert bool(names_failed(replace(GOOD, lists=lists))) is fails


@pytest.mark.parametrize(
    ("figures", "outcomes"),
    [
        (calibration(slope=Figure(0.8, 0.7, 0.89)), ("failed", "passed")),
        (calibration(slope=Figure(0.8, 0.7, 0.9)), ("untold", "passed")),
        (calibration(slope=Figure(1.3, 1.11, 1.5)), ("failed", "passed")),
        (calibration(ece=Figure(0.02, 0.0101, 0.03)), ("passed", "failed")),
        (calibration(ece=Figure(0.02, 0.0101, 0.03), base_rate=0.061), ("passed", "passed")),
        (calibration(ece=Figure(0.012, 0.004, 0.02)), ("passed", "untold")),
        (calibration(slope=UNTOLD, ece=UNTOLD, base_rate=None), ("untold", "untold")),
    ],
)
def test_calibration_is_refused_only_where_the_whole_interval_lies_outside(figures, outcomes) -> None:
    results = judge_candidate(replace(GOOD, calibration=(figures,)), POLICY).results
    assert tuple(result.outcome for result in results if result.name.startswith("calibration")) == outcomes


@pytest.mark.parametrize("error", ["missed leavers", "false alarms"])
@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(0.0, 0.10, "passed"), (0.02, 0.3, "untold"), (0.10, 0.3, "untold"), (0.101, 0.3, "failed")],
)
def test_a_gap_is_refused_only_where_it_is_sure(error, low: float, high: float, outcome: str) -> None:
    verdict = judge_candidate(replace(GOOD, fairness=(gap(low, high, 0.2, error),)), POLICY)
    (result,) = [result for result in verdict.results if result.name.startswith("fairness")]
    assert result.outcome == outcome
    if outcome == "untold":
        assert "too few to tell" in result.sentence


@pytest.mark.parametrize(
    ("test", "good", "bad"),
    [
        ("deletion_gain", 3.0, 2.99),
        ("recency_gain", 1.1, 1.09),
        ("polarity", 0.95, 0.949),
        ("completeness", 0.01, 0.011),
        ("sanity", 0.2, 0.21),
        ("seed_overlap", 0.6, 0.59),
        ("noise_overlap", 0.7, 0.69),
    ],
)
def test_each_test_of_the_reasons_has_its_limit(test: str, good: float, bad: float) -> None:
    assert not names_failed(replace(GOOD, faithfulness=faithful(**{test: Figure(good)})))
    (name,) = names_failed(replace(GOOD, faithfulness=faithful(**{test: Figure(bad)})))
    assert name.startswith("faithfulness F")


@pytest.mark.parametrize(
    ("gain", "attainable", "fails"), [(1.0, 1.02, False), (0.96, 1.02, True), (1.05, 1.5, True), (1.1, 1.5, False)]
)
def test_recency_need_not_be_beaten_by_more_than_any_order_can(gain: float, attainable: float, fails: bool) -> None:
    measured = faithful(recency_gain=Figure(gain), recency_attainable=Figure(attainable))
    assert bool(names_failed(replace(GOOD, faithfulness=measured))) is fails


def test_parity_has_another_limit_for_coarser_arithmetic() -> None:
    assert names_failed(replace(GOOD, parity=Parity("onnx", "torch", 2e-5, 1e-6)))
    assert not names_failed(replace(GOOD, parity=Parity("onnx", "torch", 0.02, 0.009, is_coarse=True)))
    assert names_failed(replace(GOOD, parity=Parity("onnx", "torch", 0.02, 0.011, is_coarse=True)))


def test_too_few_to_tell_is_the_policys_choice() -> None:
    unsure = replace(GOOD, fairness=(), calibration=(calibration(slope=UNTOLD),))
    assert judge_candidate(unsure, POLICY).passed
    strict = POLICY.model_copy(update={"too_few_to_tell": "refuse"})
    assert names_failed(unsure, strict) == ["calibration slope of risk_score", "fairness"]


def test_the_first_champion_has_nobody_to_beat_but_all_else_holds() -> None:
    first = replace(GOOD, champion=None, ranking=(ranking("lightgbm"),))
    assert judge_candidate(first, POLICY).passed
    assert names_failed(replace(first, parity=Parity("a", "b", 1.0, 1.0)))


def test_a_champion_that_cannot_be_measured_is_no_free_pass() -> None:
    blocked = replace(GOOD, ranking=(ranking("lightgbm"),), champion_problem="its features are of another release.")
    (name,) = names_failed(blocked)
    assert name == "champion"


def test_a_refusal_says_each_figure() -> None:
    bad = replace(GOOD, ranking=(ranking(low=-0.2, high=-0.1),), fairness=(gap(0.2, 0.4, 0.3),))
    sentences = [result.sentence for result in judge_candidate(bad, POLICY).failed]
    assert "[-0.200, -0.100]" in sentences[0]
    assert "male exceeds female by 0.300 [0.200, 0.400]" in sentences[1]


def test_a_verdict_is_kept_as_json() -> None:
    assert '"candidate": "7"' in judge_candidate(GOOD, POLICY).to_json()
