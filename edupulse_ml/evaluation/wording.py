"""Figures as sentences and table cells, the same in HTML and in the terminal."""

from edupulse_ml.evaluation.lead_time import LeadTime
from edupulse_ml.evaluation.report import EvaluationReport, Figure, TaskInWords, model_title


def number(value: float | None, *, digits: int = 3) -> str:
    """A rounded number, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """A share in per cent, a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f} %"


def with_interval(figure: Figure, *, digits: int = 3) -> str:
    """`0.712 [0.690, 0.733]`; without the bracket where nothing was resampled, the reason where there is no value."""
    if figure.value is None:
        return figure.reason or "–"
    if figure.low is None or figure.high is None:
        return number(figure.value, digits=digits)
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def question(task: TaskInWords) -> str:
    """The task as a question."""
    if task.start_day == 0:
        return f"Who leaves within {task.end_day} days?"
    return f"Who leaves {task.start_day + 1} to {task.end_day} days from now, having stayed until then?"


def of_hundred_flagged(report: EvaluationReport, *, task: str, top_percent: int = 5) -> str:
    """What a flag of the champion means, in students."""
    model = report.context.champion
    group = report.group(model=model, task=task)
    precision = report.figure(f"precision_top{top_percent}", model=model, task=task).value
    recall = report.figure(f"recall_top{top_percent}", model=model, task=task).value
    if precision is None or recall is None or group.base_rate is None:
        return f"{model_title(model)}: {group.reason or 'nothing can be said'}."
    return (
        f"Of 100 students flagged like this (the {top_percent} % with the highest scores), about "
        f"{round(100 * precision)} left; of 100 students picked by chance, {_about(group.base_rate)}. "
        f"The flags held {round(100 * recall)} of every 100 who left."
    )


def lead_time_sentence(lead: LeadTime) -> str:
    """When leavers were seen."""
    if lead.median_days is None or lead.share_at_least_60 is None or lead.share_never_flagged is None:
        return f"Lead time: {lead.reason or 'not measured'}."
    return (
        f"Half of the leavers who were flagged were flagged {lead.median_days:.0f} or more days before their last day "
        f"attended ({100 * lead.share_at_least_60:.0f} % of them at least 60 days before); "
        f"{100 * lead.share_never_flagged:.0f} % of all {lead.n_leavers} who left while the lists were drawn up were "
        "never flagged."
    )


def _about(base_rate: float) -> str:
    expected = 100 * base_rate
    return f"about {round(expected)}" if expected >= 1 else "fewer than 1"
