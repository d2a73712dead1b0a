"""The report on a challenge, on made-up students whose figures can be counted by hand; small groups are not told."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from edupulse_ml.core.challenge import Challenge
from edupulse_ml.core.ids import ModelVersion, StudentId, StudentKey
from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Outcomes, Task
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.evaluation.challenge_report import (
    CHALLENGER,
    CHAMPION,
    ArmRows,
    ChallengeReport,
    PairRows,
    arm_report,
    model_figures,
    shadow_report,
)
from edupulse_ml.storage.challenges import ChallengeSetting, FirstAnswer, ShadowPair
from jobs.challenge.comparing import KnownOutcomes, arm_rows, pair_rows, shares_in_force
from jobs.challenge.page import comparison_html
from jobs.challenge.showing import show_comparison
from jobs.challenge.words import arm_sentence, heading, percent, shadow_sentence

TASK = Task("risk_score", 0, 180)
BEGUN = datetime(2025, 1, 6, 12, tzinfo=UTC)


def pairs(n: int, *, left: int, unknown: int = 0) -> PairRows:
    """The first `left` students left, the next are unknown; the champion sees nothing, the challenger all."""
    label = np.zeros(n, np.int8)
    label[:left] = 1
    label[left : left + unknown] = LABEL_UNKNOWN
    return PairRows(
        champion=np.linspace(0.5, 0.4, n),
        challenger=np.where(label == 1, 0.9, 0.1) + np.linspace(0, 0.01, n),
        same_category=np.arange(n) % 2 == 0,
        label=label,
    )


def test_both_models_are_measured_on_the_same_students_whose_outcome_is_known() -> None:
    report = shadow_report(pairs(400, left=100, unknown=200))
    assert report.n_students == 400
    assert {side.n_students for side in report.models.values()} == {200}
    assert report.same_category.value == 0.5
    better, worse = report.models[CHALLENGER].figures, report.models[CHAMPION].figures
    assert (better["auc"].value, better["share_left"].value) == (1.0, 0.5)
    assert better["brier"].value < 0.02 < 0.2 < worse["brier"].value
    assert report.brier_gain.side == "positive"
    assert "The challenger predicts better" in shadow_sentence(report.brier_gain)


def test_lists_overlap_by_students_on_both_of_those_on_either() -> None:
    n = 200
    rows = PairRows(
        np.linspace(1, 0, n), np.r_[np.zeros(10), np.linspace(1, 0, n - 10)], np.ones(n, np.bool_), np.zeros(n, np.int8)
    )
    report = shadow_report(rows)
    assert report.list_overlap["top10"].value == pytest.approx(10 / 30)
    assert report.list_overlap["top5"].value == 0.0
    assert report.rank_correlation.value > 0.5


@pytest.mark.parametrize(("left", "unknown"), [(9, 0), (91, 0), (5, 90), (0, 0)])
def test_fewer_than_ten_leavers_or_stayers_are_not_told(left: int, unknown: int) -> None:
    report = shadow_report(pairs(100, left=left, unknown=unknown))
    assert report.brier_gain is None
    assert all(figure.value is None for side in report.models.values() for figure in side.figures.values())
    assert "cannot be told" in shadow_sentence(report.brier_gain)


def test_fewer_than_ten_students_are_not_told() -> None:
    assert shadow_report(pairs(9, left=4)) is None
    assert shadow_report(pairs(60, left=30)).list_overlap["top5"].value is None, "a list of three"
    assert model_figures(np.zeros(9, np.int8), np.zeros(9)).n_students is None


def arms(n: int, *, leavers: tuple[int, int], share: float = 0.5) -> ArmRows:
    """Students by turns in each arm, of whom the first so many left (champion's, challenger's)."""
    theirs = np.arange(n) % 2 == 1
    label = np.zeros(n, np.int8)
    label[0 : 2 * leavers[0] : 2] = 1
    label[1 : 2 * leavers[1] : 2] = 1
    return ArmRows(theirs, np.full(n, share), np.linspace(0.1, 0.9, n), label, np.full(n, 4), np.where(theirs, 1, 0))


def test_arms_are_compared_by_who_left() -> None:
    report = arm_report(arms(1000, leavers=(120, 20)))
    assert report.n_students == {CHAMPION: 500, CHALLENGER: 500}
    assert report.models[CHAMPION].figures["share_left"].value == pytest.approx(0.24)
    assert report.models[CHALLENGER].figures["share_left"].value == pytest.approx(0.04)
    assert (report.answers_by_other[CHAMPION].value, report.answers_by_other[CHALLENGER].value) == (0.0, 0.25)
    assert report.leavers_in_challenger.side == "negative"
    assert "Fewer students leave in the challenger's arm" in arm_sentence(report.leavers_in_challenger)
    assert arm_report(arms(1000, leavers=(50, 52))).leavers_in_challenger.side == "open"


def test_an_arm_with_few_leavers_says_nothing_of_outcomes() -> None:
    report = arm_report(arms(1000, leavers=(120, 9)))
    assert report.leavers_in_challenger is None
    assert report.models[CHALLENGER].figures["share_left"].value is None
    assert arm_report(arms(8, leavers=(1, 1))) is None


def test_students_who_came_while_one_model_answered_everybody_do_not_count_as_drawn() -> None:
    report = arm_report(arms(1000, leavers=(120, 20), share=1.0))
    assert (report.leavers_in_challenger.n, report.leavers_in_challenger.side) == (0, "open")


def known(n: int) -> KnownOutcomes:
    """Student 1 left on day 100, all others are followed to day 400; known on day 400."""
    event = np.full(n, NEVER, np.int32)
    event[0] = 100
    followed = np.full(n, 400, np.int32)
    followed[0] = 100
    return KnownOutcomes([StudentKey(key) for key in range(1, n + 1)], Outcomes(event, followed, 400))


def test_pairs_stand_in_the_order_in_which_their_outcomes_become_known() -> None:
    found = [
        ShadowPair(StudentKey(3), 300, (0.3, 0.0), (0.5, 0.0), same_category=False),
        ShadowPair(StudentKey(2), 60, (0.2, 0.0), (0.4, 0.0), same_category=True),
        ShadowPair(StudentKey(1), 60, (0.1, 0.0), (0.9, 0.0), same_category=True),
    ]
    rows = pair_rows(found, known(3), task=TASK)
    assert rows.champion.tolist() == [0.1, 0.2, 0.3]
    assert rows.label.tolist() == [1, 0, LABEL_UNKNOWN]


def setting(split: float, *, days: float) -> ChallengeSetting:
    return ChallengeSetting(
        Challenge("c", ModelVersion("2"), 0.0, split), is_over=False, set_at=BEGUN + timedelta(days=days), set_by="ada"
    )


def test_the_arm_is_the_one_drawn_at_the_first_answer_whoever_gave_it() -> None:
    settings = [setting(0.0, days=0), setting(1.0, days=2), setting(0.0, days=4)]
    found = [
        FirstAnswer(StudentKey(1), StudentId("a"), 60, BEGUN + timedelta(days=3), (0.5, 0.1), 4, 3),
        FirstAnswer(StudentKey(2), StudentId("b"), 60, BEGUN + timedelta(days=5), (0.4, 0.1), 2, 0),
        FirstAnswer(StudentKey(3), StudentId("c"), 60, BEGUN - timedelta(seconds=1), (0.3, 0.1), 1, 0),
    ]
    rows = arm_rows(found, settings, known(3), task=TASK)
    assert rows.in_challenger.tolist() == [True, False, False]
    assert rows.share.tolist() == [1.0, 0.0, 0.0]
    assert rows.others.tolist() == [1, 0, 0]
    assert rows.label.tolist() == [1, 0, 0]


def report(**parts) -> ChallengeReport:
    return ChallengeReport(
        **{
            "challenge_id": "c",
            "challenger": "2",
            "champions": ("1",),
            "begun_at": BEGUN.isoformat(),
            "counted_until": None,
            "created_at": BEGUN.isoformat(),
            "horizon_days": 180,
            "is_over": False,
            "shadow_weight": 0.2,
            "split_weight": 0.5,
            "shadow": None,
            "arms": None,
            **parts,
        }
    )


def over(days: float) -> ChallengeSetting:
    return ChallengeSetting(
        Challenge("c", ModelVersion("2"), 0.0, 0.0), is_over=True, set_at=BEGUN + timedelta(days=days), set_by="ada"
    )


def test_the_shares_of_an_ended_challenge_are_those_before_its_end() -> None:
    assert shares_in_force([setting(0.1, days=0), setting(0.4, days=1), over(2)]).split == 0.4
    assert shares_in_force([setting(0.1, days=0), setting(0.0, days=1)]).split == 0.0


@pytest.mark.parametrize(
    ("champions", "told"),
    [
        ((), "Version 2 against the champion,"),
        (("1",), "Version 2 against champion 1,"),
        (("1", "4", "5"), "Version 2 against champions 1, 4 and 5,"),
    ],
)
def test_the_heading_names_every_version_that_answered_as_champion(champions: tuple[str, ...], told: str) -> None:
    found = report(champions=champions)
    assert heading(found).startswith(told)
    assert told.removesuffix(",") in comparison_html(found).split("<h1>")[1].split("</h1>")[0]
    assert "Answers count until" not in heading(found)
    assert "count until 2025-03-01, when" in heading(report(counted_until="2025-03-01T12:00:00+00:00"))


@pytest.mark.parametrize(
    ("share", "told"), [(0.2, "20%"), (0.07, "7%"), (0.001, "0.1%"), (0.00005, "0.005%"), (0.9999, "99.99%"), (0, "0%")]
)
def test_small_shares_are_told_with_all_their_digits(share: float, told: str) -> None:
    assert percent(share) == told
    assert f"{told} of the students in the shadow, {told} answered" in heading(
        report(shadow_weight=share, split_weight=share)
    )


def test_the_report_is_json_text_and_a_page() -> None:
    full = report(
        shadow=shadow_report(pairs(400, left=100)), arms=arm_report(arms(1000, leavers=(120, 9))), is_over=True
    )
    told = json.loads(full.to_json())
    assert told["shadow"]["models"]["challenger"]["figures"]["auc"]["value"] == 1.0
    assert told["arms"]["leavers_in_challenger"] is None
    page = StringIO()
    console = Console(file=page, width=120)
    show_comparison(full, console)
    show_comparison(report(), console)
    text = page.getvalue()
    assert "Version 2 against champion 1" in text
    assert "too few students to say" in text
    assert "fewer than 10 students so far" in text
    html = comparison_html(full)
    assert "Version 2 against champion 1" in html
    assert html.count("<table>") == 2
    assert "<td>Rank correlation</td>" in html
    assert "src=" not in html
    assert "each of the two tests errs in at most" in html
    assert "may change when outcomes are corrected" in " ".join(html.split())
    assert "fewer than 10 students so far" in comparison_html(report())
    assert "&lt;b&gt;" in comparison_html(report(challenger="<b>"))
