"""The model card: what it says, in which words, and what it keeps to itself."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from edupulse_ml.core.outcomes import Outcomes, Task
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.evaluation import card_sentences as words
from edupulse_ml.evaluation.evaluate import EvaluationOptions, EvaluationRows, WeeklyScores, evaluate_models
from edupulse_ml.evaluation.faithfulness import Faithfulness
from edupulse_ml.evaluation.figures import TOO_FEW, Figure
from edupulse_ml.evaluation.generalisation import Generalisation
from edupulse_ml.evaluation.lead_time import SEEN_AT_DAYS, TOO_LATE_DAYS, lead_time
from edupulse_ml.evaluation.model_card import CardFacts, model_card_html
from edupulse_ml.evaluation.report import DataWindow, EvaluationReport, ReportContext

TASK = Task("risk_score", 0, 180)
N = 1500


def make_report(*, few: int = 4, share: float = 0.2) -> EvaluationReport:
    """`few` students are of a race that nobody else is of; girls are missed more often."""
    rng = np.random.default_rng(0)
    student = np.arange(N, dtype=np.int32)
    risk = rng.random(N) * 2 * share
    leaves = rng.random(N) < risk
    event = np.where(leaves, 1000 + rng.integers(20, 180, N), NEVER).astype(np.int32)
    outcomes = Outcomes(event, np.where(leaves, event, 2000).astype(np.int32), 2000)
    girl = student % 2 == 0
    score = np.where(girl, 0.6 * risk, risk)
    weeks = np.arange(1000, 1180, 7, dtype=np.int32)
    weekly_student = np.repeat(student, len(weeks))
    rows = EvaluationRows(
        student=np.tile(student, 2),
        cutoff_day=np.repeat([1000, 1007], N).astype(np.int32),
        outcomes=outcomes.select(np.tile(student, 2)),
        landmark=["a"] * N + ["b"] * N,
        groups={
            "sex": ["female" if g else "male" for g in np.tile(girl, 2)],
            "race_ethnicity": ["rare" if s < few else "<b>" if s % 3 else "other" for s in np.tile(student, 2)],
            "foster_care": [None] * (2 * N),
        },
        strategies={"abc_flag": {"risk_score": (np.tile(student, 2) % 5 == 0).astype(float)}},
    )
    return evaluate_models(
        {"gru": {"risk_score": np.tile(score, 2)}},
        rows,
        tasks=(TASK,),
        context=ReportContext(
            "A <test> district", "gru", "2026-01-01", "Trained earlier.", (DataWindow("test", "a", "b", N, 2 * N),)
        ),
        options=EvaluationOptions(replicates=40, seed=1),
        weekly=WeeklyScores(
            "risk_score",
            weekly_student,
            np.tile(weeks, N),
            outcomes.select(weekly_student),
            {"gru": np.repeat(score, len(weeks))},
        ),
    )


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return make_report()


@pytest.fixture(scope="module")
def card(report: EvaluationReport) -> str:
    return model_card_html(report, facts=CardFacts(version="7", remarks=("Promoted against the policy: <why>.",)))


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


def test_it_speaks_in_students(report: EvaluationReport, card: str) -> None:
    precision = report.figure("precision_top5", model="gru", task="risk_score").value
    assert precision is not None
    said = text_of(card)
    assert (
        f"Of 100 students flagged like this (the 5 % with the highest scores), about {round(100 * precision)} left"
        in said
    )
    assert "It must not:" in said
    assert all(use in said for use in words.MUST_NOT)
    assert "version 7" in said
    assert "one leaver for every" in said
    assert "Of 100 students who left" in said
    assert "ABC rule" in said
    assert "on the next week&#39;s list" in card or "on the next week's list" in card


def test_it_loads_nothing_and_is_whole(card: str) -> None:
    class Balanced(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open_tags: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "img", "br"):
                self.open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open_tags.pop() == tag

    parser = Balanced()
    parser.feed(card)
    assert parser.open_tags == []
    assert "http" not in card
    assert card.count("data:image/png;base64,") == 5
    assert "&lt;why&gt;" in card
    assert "<b>" not in card


def test_it_says_who_is_failed_and_who_was_too_few(card: str) -> None:
    said = text_of(card)
    assert "more among female than among male" in said
    assert "more than chance would make" in said
    assert "Nothing is said about" in said
    assert TOO_FEW in said
    assert "Not recorded by this district, and so not checked: foster care." in said


def test_what_it_hides_is_in_no_file(report: EvaluationReport) -> None:
    assert report.fairness is not None
    rare = [g for g in report.fairness.groups if g.group.startswith("rare")]
    assert rare
    assert all(g.reason == TOO_FEW and g.figures == {} and g.n_students is None for g in rare)
    told = [g for g in report.fairness.groups if g.attribute == "race_ethnicity" and g.reason is None]
    # With one group hidden, a second one must be, or the four would be what is left over.
    assert len(told) == 1


def test_json_there_and_back(report: EvaluationReport) -> None:
    assert EvaluationReport.from_json(report.to_json()) == report


def test_reports_of_two_tasks_are_joined_with_all_their_figures(report: EvaluationReport) -> None:
    second = replace(report, tasks=(replace(report.tasks[0], name="other"),))
    both = report.joined(second)
    for name in ("capacity", "decision_curve", "stability", "lead_times", "groups"):
        assert getattr(both, name) == getattr(report, name) + getattr(second, name)
    assert report.fairness is not None
    assert both.fairness is not None
    assert both.fairness.groups == report.fairness.groups * 2
    assert both.fairness.gaps == report.fairness.gaps * 2
    assert replace(report, fairness=None).joined(second).fairness == report.fairness


def test_reports_of_an_earlier_release_can_still_be_read(report: EvaluationReport) -> None:
    old = replace(report, fairness=None, capacity=(), decision_curve=(), stability=())
    without = {"fairness", "capacity", "decision_curve", "stability", "generalisation", "faithfulness"}
    stored = {name: value for name, value in json.loads(old.to_json()).items() if name not in without}
    assert EvaluationReport.from_json(json.dumps(stored)) == old
    page = text_of(model_card_html(old))
    assert "Nobody knows: the district gave no attributes" in page
    assert page.count("Not measured.") == 1


def test_shares_of_small_groups_are_coded() -> None:
    assert words.coded_share(Figure(0.02), n_students=120) == "under 5 %"
    assert words.coded_share(Figure(1.0), n_students=299) == "over 95 %"
    assert words.coded_share(Figure(0.02), n_students=300) == "2 %"
    assert words.coded_share(Figure(0.4), n_students=20) == "40 %"
    assert words.coded_share(Figure(None, reason=TOO_FEW), n_students=20) == "–"
    assert words.coded_share(None, n_students=None) == "–"


def test_a_new_school_in_words() -> None:
    figures = ({"recall_top10": Figure(0.4)}, {"recall_top10": Figure(0.5)})
    held_out = Generalisation("held_out_schools", "lightgbm", "t", 6, 900, *figures, {})
    assert "6 schools" in words.generalisation_sentence(held_out)
    assert "held 40 of every 100 who left, against 50 when all schools" in words.generalisation_sentence(held_out)
    untold = Generalisation("short_record", "gru", "t", None, None, {}, {}, {}, reason=TOO_FEW)
    assert TOO_FEW in words.generalisation_sentence(untold)


def test_tested_reasons_in_words(report: EvaluationReport, card: str) -> None:
    assert "Do the reasons tell" not in card
    tested = replace(report, faithfulness=Faithfulness(500, 1400, polarity=Figure(0.97), deletion_gain=Figure(4.5)))
    assert EvaluationReport.from_json(tested.to_json()) == tested
    said = text_of(model_card_html(tested))
    assert "Of 100 reasons, 97 move the score as they say" in said
    assert "4.5 times as much" in said
    assert "by a hair" not in said


def test_leavers_seen_and_seen_too_late() -> None:
    """20 leavers with last day 210: 5 flagged from day 0, 5 from day 200, 10 never; flags need two weeks of three."""
    weeks = np.arange(0, 210, 7)
    student = np.repeat(np.arange(100), len(weeks)).astype(np.int32)
    week = np.tile(weeks, 100).astype(np.int32)
    event = np.where(np.arange(100) < 20, 210, NEVER).astype(np.int32)
    outcomes = Outcomes(event, np.where(event == NEVER, 900, event).astype(np.int32), 900).select(student)
    early, late = student < 5, (student >= 5) & (student < 10) & (week >= 189)
    stayer = (student >= 20) & (student < 25) & (week < 189)
    score = np.where(early | late, 0.9, np.where(stayer, 0.8, 0.1))
    found = lead_time(student, week, score, outcomes, share=0.10)
    assert (found.n_leavers, found.n_caught) == (20, 10)
    assert found.share_too_late == pytest.approx(5 / 20)
    assert found.share_never_flagged == pytest.approx(10 / 20)
    assert found.share_seen == tuple(0.5 if days <= 14 else 0.25 for days in SEEN_AT_DAYS)
    assert TOO_LATE_DAYS in SEEN_AT_DAYS
