"""The report of a month: what it says of the outcome, of each rule, and of the month before."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.monitoring.figures import WatchedFigure
from edupulse_ml.storage.monthly_runs import MonthlyRun, MonthlyStep
from jobs.month.page import month_html
from jobs.month.report import changes, headline, make_report
from jobs.month.request import first_day
from jobs.month.results import (
    DataChecked,
    Evaluated,
    Gated,
    Monitored,
    Refreshed,
    Scored,
    StepResult,
    Trained,
    UnreadableResultError,
    from_stored,
    to_stored,
)
from jobs.month.running import Month
from jobs.month.steps import is_blocked, outcome_of
from tests.fakes.month_steps import BLOCKER, RESULTS, VERDICT, WARNING

BEGAN = datetime(2025, 5, 3, 2, tzinfo=UTC)
ALERT = WatchedFigure("psi", "absence_rate_4w", 0.41, limit=0.25, n=900, is_alert=True)
WORKED = {name: result for name, result in RESULTS.items() if name != "report"}


def month(results: dict[str, StepResult], *, when: date = date(2025, 5, 1), number: int = 1) -> Month:
    return Month(MonthlyRun(uuid4(), when, number, BEGAN, {}, None, None), results)


def steps(results: dict[str, StepResult]) -> dict[str, MonthlyStep]:
    return {
        name: MonthlyStep(name, 1 + (name == "train"), BEGAN, BEGAN + timedelta(seconds=2.5), {}, None)
        for name in results
    }


def report_of(results: dict[str, StepResult], *, before: Month | None = None, number: int = 1):
    this = month(results, number=number)
    return make_report(
        this,
        district="demo",
        outcome=outcome_of(this),
        titles={name: f"title of {name}" for name in results},
        steps=steps(results),
        before=before,
        written=BEGAN + timedelta(hours=1),
    )


@pytest.mark.parametrize("result", RESULTS.values(), ids=list(RESULTS))
def test_results_are_the_same_after_being_stored(result: StepResult) -> None:
    assert from_stored(type(result), json.loads(json.dumps(to_stored(result)))) == result


@pytest.mark.parametrize(
    ("gated", "said"),
    [
        (Gated("first", "1", None, "1", None), "Version 1 is the district's first champion."),
        (Gated("promoted", "2", "1", "2", VERDICT), "Version 2 is the champion now, in place of version 1."),
        (
            Gated("refused", "2", "1", "1", VERDICT),
            "Version 2 was refused: 1 rule of the policy not met. Version 1 stays the champion.",
        ),
    ],
)
def test_the_headline_says_what_became_of_the_candidate(gated: Gated, said: str) -> None:
    assert headline(month({**WORKED, "gate": gated})) == said


def test_unfit_records_are_the_headline_of_a_blocked_month() -> None:
    blocked = {"refresh": WORKED["refresh"], "check_data": DataChecked("1", (BLOCKER, WARNING))}
    assert is_blocked(month(blocked))
    assert headline(month(blocked)) == "No model was trained: the records have 1 blocker."
    page = month_html(report_of(blocked))
    assert "Nothing came for 30 school days." in page
    assert "Import what is due." in page
    assert "The gate" not in page


def test_a_blocker_that_somebody_answers_for_blocks_nothing_and_is_told() -> None:
    answered = {**WORKED, "check_data": DataChecked("1", (BLOCKER,), (BLOCKER.name,), "feed ends in summer")}
    assert not is_blocked(month(answered))
    assert "feed ends in summer" in month_html(report_of(answered))


def test_the_page_tells_each_rule_with_its_figure_and_each_step() -> None:
    report = report_of({**WORKED, "monitor": Monitored("1", "1", 14, (ALERT,), "/reports/m.html")}, number=2)
    page = month_html(report)
    for rule in VERDICT.results:
        assert rule.sentence in page
        assert rule.name in page
    for told in ("0.012 [0.001, 0.020]", "not met", "run 2 of this month", "0.760 [0.700, 0.820]", "Grades come late."):
        assert told in page, told
    assert "Stability index of a feature: absence_rate_4w" in page
    assert "118 students scored with version 1, fewer than 10 without enough data." in page
    kept = json.loads(report.to_json())
    assert (kept["outcome"], kept["steps"][2]["tries"], kept["steps"][0]["seconds"]) == ("refused", 2, 2.5)


def test_markup_in_a_reason_is_text() -> None:
    answered = {**WORKED, "check_data": DataChecked("1", (BLOCKER,), (BLOCKER.name,), "<script>")}
    assert "<script>" not in month_html(report_of(answered))


def test_without_an_earlier_month_there_is_nothing_to_compare() -> None:
    assert changes(month(WORKED), None) == ["There is no earlier month to compare with."]


def test_a_month_of_another_release_is_not_compared_with() -> None:
    before = month({}, when=date(2025, 4, 1))
    assert changes(month(WORKED), before) == ["2025-04 was run by another release and is not compared with."]


def test_a_result_of_another_release_is_told_of() -> None:
    with pytest.raises(UnreadableResultError, match="another release"):
        from_stored(Trained, {"number": 2})


def test_what_has_changed_since_the_month_before() -> None:
    earlier = Evaluated("boosted", (), (), {"within180.auc": 0.74, "within180.ece": 0.01})
    before = month(
        {
            "check_data": DataChecked("1", (replace(WARNING, name="late.transcript"),)),
            "evaluate": earlier,
            "gate": Gated("first", "1", None, "1", None),
            "score": Scored("1", 111, 9),
            "monitor": Monitored("1", "1", 14, (replace(ALERT, subject="gpa"),), None),
        },
        when=date(2025, 4, 1),
    )
    now = month(
        {
            **WORKED,
            "gate": Gated("promoted", "2", "1", "2", VERDICT),
            "monitor": Monitored("2", "1", 14, (ALERT,), None),
        }
    )
    assert list(changes(now, before)) == [
        "Compared with 2025-04:",
        "The champion was version 1 and is version 2.",
        "ROC-AUC of within180: the candidate has 0.760, that month's had 0.740, each on its own test people.",
        "118 students scored, 111 then.",
        "New in the records: late.grades.",
        "No longer found in the records: late.transcript.",
        "New alerts: psi of absence_rate_4w.",
        "Alerts that are over: psi of gpa.",
    ]


def test_no_count_below_ten_is_told() -> None:
    small = {
        **WORKED,
        "refresh": Refreshed(3, 7, date(2025, 5, 26)),
        "score": Scored("1", 118, 4),
        "train": Trained("2", "boosted", found_again=True),
    }
    report = report_of(small)
    told = {step.title: step.sentence for step in report.steps}
    assert told["title of refresh"].startswith("fewer than 10 students computed, fewer than 10 student-weeks changed")
    assert told["title of score"].endswith("fewer than 10 without enough data.")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [(None, date(2025, 4, 1)), (date(2025, 4, 30), date(2025, 4, 1)), (date(2024, 12, 1), date(2024, 12, 1))],
)
def test_the_month_is_the_district_s_own(asked: date | None, meant: date) -> None:
    in_utc_it_is_may = datetime(2025, 5, 1, 2, tzinfo=UTC)
    assert first_day(asked, now=in_utc_it_is_may, zone=ZoneInfo("America/New_York")) == meant


def test_a_month_to_come_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="2025-06 has not begun"):
        first_day(date(2025, 6, 1), now=BEGAN, zone=ZoneInfo("UTC"))
