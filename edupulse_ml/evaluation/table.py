"""The report in a terminal: the champion beside its rivals, one table per task."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from edupulse_ml.evaluation.report import POOLED, EvaluationReport, Figure, GroupResult, TaskInWords, model_title
from edupulse_ml.evaluation.wording import (
    lead_time_sentence,
    number,
    of_hundred_flagged,
    question,
    share,
    with_interval,
)

_HEADINGS = ("AUC", "AP", "P@5", "R@5", "P@10", "R@10", "Brier", "ECE", "Slope")
_MODEL_WIDTH = 20
_LEGEND = (
    "AP: average precision. P@5, R@5: precision and recall in % among the 5 % with the highest scores. "
    "Second lines: 95 % intervals, students resampled."
)


def report_table(report: EvaluationReport, *, landmark: str = POOLED) -> Group:
    """Everything worth a terminal: a table per task, what a flag means, and the champion's lead time."""
    parts: list[Table | Text] = []
    for task in report.tasks:
        parts.append(task_table(report, task=task, landmark=landmark))
        parts.append(Text(of_hundred_flagged(report, task=task.name), style="italic"))
        if task.note is not None:
            parts.append(Text(task.note, style="dim"))
        parts.append(Text(""))
    parts.append(Text(_LEGEND, style="dim"))
    lead = report.lead_time(model=report.context.champion)
    if lead is not None:
        parts.append(Text(lead_time_sentence(lead)))
    return Group(*parts)


def task_table(report: EvaluationReport, *, task: TaskInWords, landmark: str = POOLED) -> Table:
    """One task: a row per model, the champion first."""
    group = report.group(model=report.context.champion, task=task.name, landmark=landmark)
    counted = (
        f"{group.n_events} of {group.n_rows} student-weeks, {share(group.base_rate)}" if group.n_rows else group.reason
    )
    table = Table(
        title=f"{task.name}: {question(task)} ({landmark}: {counted})",
        title_justify="left",
        box=None,
        padding=(0, 0, 0, 1),
    )
    table.add_column("Model", min_width=_MODEL_WIDTH)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    ordered = sorted(report.models, key=lambda name: name != report.context.champion)
    for model in ordered:
        style = "bold" if model == report.context.champion else None
        row = report.group(model=model, task=task.name, landmark=landmark)
        table.add_row(model_title(model), *_cells(row, calibrated=task.note is None), style=style)
    return table


def _cells(group: GroupResult, *, calibrated: bool) -> tuple[str, ...]:
    if group.reason is not None:
        return (group.reason, *("–",) * (len(_HEADINGS) - 1))
    figures = group.figures
    calibration = (number(figures["brier"].value), number(figures["ece"].value)) if calibrated else ("–", "–")
    return (
        _stacked(figures["auc"]),
        _stacked(figures["average_precision"]),
        *(
            _percent(figures[name].value)
            for name in ("precision_top5", "recall_top5", "precision_top10", "recall_top10")
        ),
        *calibration,
        number(figures["calibration_slope"].value, digits=1) if calibrated else "–",
    )


def _stacked(figure: Figure) -> str:
    """The value, and its interval on a second line, so that the table fits a narrow terminal."""
    if figure.value is None or figure.low is None or figure.high is None:
        return with_interval(figure)
    low, high = (number(bound, digits=2).removeprefix("0") for bound in (figure.low, figure.high))
    return f"{number(figure.value)}\n{low}-{high}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f}"
