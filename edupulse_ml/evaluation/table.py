"""The report in a terminal: the champion beside its rivals, one table per task."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from edupulse_ml.evaluation.report import POOLED, EvaluationReport, GroupResult, TaskInWords, model_title
from edupulse_ml.evaluation.wording import (
    lead_time_sentence,
    number,
    of_hundred_flagged,
    question,
    share,
    with_interval,
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
    table = Table(title=f"{task.name}: {question(task)} ({landmark}: {counted})", title_justify="left")
    table.add_column("Model", no_wrap=True)
    for heading in ("AUC", "Average precision", "P@5 %", "R@5 %", "R@10 %", "Brier", "ECE", "Slope"):
        table.add_column(heading, justify="right")
    ordered = sorted(report.models, key=lambda name: name != report.context.champion)
    for model in ordered:
        style = "bold" if model == report.context.champion else None
        row = report.group(model=model, task=task.name, landmark=landmark)
        table.add_row(model_title(model), *_cells(row, calibrated=task.note is None), style=style)
    return table


def _cells(group: GroupResult, *, calibrated: bool) -> tuple[str, ...]:
    if group.reason is not None:
        return (group.reason, *("–",) * 7)
    figures = group.figures
    calibration = (number(figures["brier"].value, digits=4), number(figures["ece"].value)) if calibrated else ("–", "–")
    return (
        with_interval(figures["auc"]),
        with_interval(figures["average_precision"]),
        share(figures["precision_top5"].value),
        share(figures["recall_top5"].value),
        share(figures["recall_top10"].value),
        *calibration,
        number(figures["calibration_slope"].value, digits=2) if calibrated else "–",
    )
