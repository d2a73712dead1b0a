"""The report on opinions in a terminal: what is told, and that what is kept back is said to be."""

from rich.console import Console

from edupulse_ml.evaluation.flag_opinions import GroupOpinions, LaterLeft, OpinionReport
from jobs.feedback_report import show_opinions


def test_shares_are_shown_and_suppression_is_said() -> None:
    report = OpinionReport(
        n_opinions=1200,
        verdicts={"useful": 800, "wrong": None},
        by_group=(GroupOpinions("reason", "missing work", 400, 0.25), GroupOpinions("sex", "f", None, None)),
        later_left=(LaterLeft("dismissed", 300, 0.04), LaterLeft("agreed", None, None)),
    )
    console = Console(width=120, record=True, quiet=False, file=None)
    with console.capture() as shown:
        show_opinions(report, days=90, horizon_days=180, console=console)
    text = shown.get()
    assert "last 90 days" in text
    assert any(line.split("│")[2:5] == [" missing work ", "      400 ", "       25% "] for line in text.splitlines())
    assert text.count("too few") == 5
    assert "flags dismissed whose end is known (300), the student left within 180 days in: 4%" in " ".join(text.split())
