"""Progress: bars on a terminal, and where there is none a line when a step begins, at tenths, and when it ends."""

import io
import json
import sys

import pytest
import structlog
from rich.console import Console

from edupulse_ml.telemetry.logs import configure_logs
from jobs.progress import QUIET_S, ProgressLines, progress_bars


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def written():
    stream = io.StringIO()
    configure_logs(level="INFO", log_format="auto", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


def lines(written) -> list[tuple]:
    return [(line["step"], line["status"], line["count"], line["total"]) for line in written()]


def piped() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


def test_a_terminal_gets_bars_and_no_lines(written, seconds) -> None:
    shown = io.StringIO()
    with progress_bars(Console(file=shown, force_terminal=True, width=100)) as bars:
        bars.advance(bars.add_task("features of 9 students", total=9), 9)
    assert "features of 9 students" in shown.getvalue()
    assert "100%" in shown.getvalue()
    assert written() == []


def test_elsewhere_a_step_is_a_json_line_at_its_start_and_at_its_end(written, seconds) -> None:
    shown = io.StringIO()
    with progress_bars(Console(file=shown, force_terminal=False), get_time=seconds) as bars:
        task = bars.add_task("reading student-weeks", total=1.0)
        seconds.now += 3
        bars.update(task, completed=1.0)
    assert lines(written) == [
        ("reading student-weeks", "started", 0, 1.0),
        ("reading student-weeks", "finished", 1.0, 1.0),
    ]
    assert [line["seconds"] for line in written()] == [0.0, 3.0]
    assert all(line["event"] == "progress" and line["level"] == "info" for line in written())
    assert shown.getvalue() == ""


def test_a_long_step_tells_of_its_tenths_but_not_too_often(written, seconds) -> None:
    with progress_bars(piped(), get_time=seconds) as bars:
        task = bars.add_task("scoring students", total=1000)
        for _ in range(1000):
            seconds.now += QUIET_S / 50
            bars.advance(task)
    counts = [count for _, status, count, _ in lines(written) if status == "going_on"]
    assert counts == [100, 200, 300, 400, 500, 600, 700, 800, 900]


def test_a_quick_step_has_no_lines_between(written, seconds) -> None:
    with progress_bars(piped(), get_time=seconds) as bars:
        task = bars.add_task("scoring students", total=1000)
        for _ in range(1000):
            bars.advance(task)
    assert [status for _, status, _, _ in lines(written)] == ["started", "finished"]


def test_a_new_description_is_a_new_step(written, seconds) -> None:
    with progress_bars(piped(), get_time=seconds) as bars:
        task = bars.add_task("preparing", total=None)
        bars.update(task, description="training (gru)", completed=0)
        bars.update(task, description="training the rivals", completed=0)
        bars.update(task, total=1, completed=1)
    assert [(step, status) for step, status, _, _ in lines(written)] == [
        ("preparing", "started"),
        ("preparing", "finished"),
        ("training (gru)", "started"),
        ("training (gru)", "finished"),
        ("training the rivals", "started"),
        ("training the rivals", "finished"),
    ]


def test_a_step_after_one_that_was_done_ends_when_it_is_done(written, seconds) -> None:
    with progress_bars(piped(), get_time=seconds) as bars:
        task = bars.add_task("training (gru)", total=2)
        bars.advance(task, 2)
        bars.update(task, description="training the rivals", completed=0)
        bars.advance(task)
        bars.advance(task)
    assert lines(written) == [
        ("training (gru)", "started", 0, 2),
        ("training (gru)", "finished", 2, 2),
        ("training the rivals", "started", 0, 2),
        ("training the rivals", "finished", 2, 2),
    ]


def test_a_step_that_ends_early_is_finished_and_one_that_raises_has_failed(written, seconds) -> None:
    with progress_bars(piped(), get_time=seconds) as bars:
        bars.advance(bars.add_task("stopped early", total=50), 7)

    def break_down() -> None:
        with progress_bars(piped(), get_time=seconds) as bars:
            bars.add_task("broken", total=50)
            raise KeyError

    with pytest.raises(KeyError):
        break_down()
    assert [(step, status) for step, status, _, _ in lines(written)] == [
        ("stopped early", "started"),
        ("stopped early", "finished"),
        ("broken", "started"),
        ("broken", "failed"),
    ]


def test_what_is_not_to_be_seen_is_not_told(written, seconds) -> None:
    with progress_bars(piped(), get_time=seconds) as bars:
        task = bars.add_task("features of 0 students", total=0, visible=False)
        bars.advance(task, 0)
    assert written() == []


def test_a_quiet_console_gets_nothing(written) -> None:
    with progress_bars(Console(quiet=True)) as bars:
        bars.advance(bars.add_task("scoring students", total=1))
    assert written() == []


def test_lines_go_where_the_logs_go_and_never_to_a_job_s_output(capsys, seconds) -> None:
    configure_logs(level="INFO", log_format="json", stream=sys.stderr)
    try:
        with progress_bars(Console(force_terminal=False), get_time=seconds) as bars:
            bars.add_task("scoring students", total=1)
    finally:
        structlog.reset_defaults()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert '"scoring students"' in shown.err
    assert isinstance(bars, ProgressLines)
