"""What `edupulse monthly` asks for, says, and ends with."""

from datetime import date
from typing import Any
from uuid import uuid4

import pytest

from edupulse_ml.storage.monthly_runs import MonthlyRun, MonthOutcome
from jobs import cli, monthly
from jobs.month.request import MonthRequest
from jobs.month.results import DataChecked, StepResult
from jobs.month.running import Month, MonthEnd
from tests.fakes.month_steps import BLOCKER, RESULTS
from tests.fakes.store_world import NOW

MAY = MonthlyRun(uuid4(), date(2025, 5, 1), 1, NOW, {}, NOW, None)
UNFIT = {"check_data": DataChecked("1", (BLOCKER,)), "report": RESULTS["report"]}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch):
    def call(
        *arguments: str, results: dict[str, StepResult] = RESULTS, outcome: MonthOutcome = "refused", was: bool = False
    ) -> tuple[int, MonthRequest]:
        asked: list[MonthRequest] = []

        async def run(settings: object, request: MonthRequest, **_: Any) -> MonthEnd:
            asked.append(request)
            return MonthEnd(Month(MAY, results), outcome, was)

        monkeypatch.setattr(monthly, "run_district_month", run)
        with pytest.raises(SystemExit) as end:
            cli.run(["monthly", *arguments], before_command=lambda: None)
        assert isinstance(end.value.code, int)
        return end.value.code, asked[0]

    return call


def test_a_refusal_is_a_normal_end(called, capsys) -> None:
    code, request = called("--month", "2025-05", "--strategy", "boosted", "--rescore", "changed")
    assert code == 0
    assert (request.month, request.rescore, request.candidate.strategy) == (date(2025, 5, 1), "changed", "boosted")
    shown = capsys.readouterr().out
    assert "Version 2 was refused" in shown
    assert "/reports/2025-05/report.html" in shown


def test_a_finished_month_says_so(called, capsys) -> None:
    assert called(was=True)[0] == 0
    assert "The month 2025-05 is finished; --again runs it anew." in capsys.readouterr().out


def test_unfit_records_end_with_66_and_every_advice(called, capsys) -> None:
    assert called(results=UNFIT, outcome="blocked")[0] == 66
    shown = capsys.readouterr()
    assert "No model was trained" in shown.out
    assert BLOCKER.name in shown.err
    assert BLOCKER.advice in shown.err


def test_a_blocker_is_ignored_only_with_a_reason(called) -> None:
    code, request = called("--ignore-blocker", BLOCKER.name, "--reason", "the feed ends in summer")
    assert code == 0
    assert request.parameters()["ignored_data_blockers"] == f"{BLOCKER.name}: the feed ends in summer"
    with pytest.raises(SystemExit) as end:
        cli.run(["monthly", "--ignore-blocker", BLOCKER.name], before_command=lambda: None)
    assert end.value.code == 2


@pytest.mark.parametrize("month", ["2025-13", "May"])
def test_a_month_that_is_none_is_a_wrong_call(month: str, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run(["monthly", "--month", month], before_command=lambda: None)
    assert end.value.code == 2
