"""Pictures of a model card: what acting on the scores is worth, errors by group, and how early leavers are seen."""

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes

from edupulse_ml.evaluation.card_sentences import CODED_BELOW_STUDENTS, HIGHEST_TOLD, LOWEST_TOLD
from edupulse_ml.evaluation.decision_curve import NetBenefit
from edupulse_ml.evaluation.fairness import GroupFairness
from edupulse_ml.evaluation.lead_time import SEEN_AT_DAYS
from edupulse_ml.evaluation.plots import as_png, blank, reliability_png
from edupulse_ml.evaluation.report import EvaluationReport, model_title

_CHAMPION: Final = "#1b4f9c"
_OTHERS: Final = {"abc_flag": "#c8562b", "school_targeting": "#2f8f5b", "treat_all": "#8a8a8a", "treat_none": "#bbbbbb"}
STRATEGY_TITLES: Final = {
    "abc_flag": "ABC rule (absent 10 %, a core course failing, or suspended)",
    "school_targeting": "Support for whole schools",
    "treat_all": "Support for everybody",
    "treat_none": "Support for nobody",
}
_ERRORS: Final = (("fnr", "Leavers missed", "#1b4f9c"), ("fpr", "Stayers flagged", "#c8562b"))


def card_pngs(report: EvaluationReport, *, task: str) -> dict[str, bytes]:
    """The pictures that can be drawn, by name."""
    drawn = {
        "decision": decision_curve_png(report, task=task),
        "reliability": reliability_png(report, task=task) if _is_calibrated(report, task) else None,
        "seen": seen_png(report),
    }
    if report.fairness is not None:
        for attribute in report.fairness.attributes:
            groups = report.fairness.of(model=report.context.champion, task=task, attribute=attribute)
            drawn[f"fairness-{attribute}"] = fairness_png(groups)
    return {name: picture for name, picture in drawn.items() if picture is not None}


def decision_curve_png(report: EvaluationReport, *, task: str) -> bytes | None:
    """Net benefit in students rightly flagged per 1,000; None where nothing is told."""
    curve = next((entry for entry in report.decision_curve if entry.task == task and entry.strategies), None)
    if curve is None:
        return None
    figure, axes = blank("Risk from which a student would be supported", "Worth, in leavers found per 1,000 students")
    x = list(curve.thresholds)
    for name in _OTHERS:
        entry = curve.strategy(name)
        if entry is not None:
            axes.plot(x, _per_thousand(entry), color=_OTHERS[name], label=STRATEGY_TITLES[name])
    champion = curve.strategy(curve.champion)
    if champion is not None:
        _champion_line(axes, x, champion, title=model_title(curve.champion))
        top = max(_per_thousand(champion))
        axes.set_ylim(bottom=-0.3 * max(top, 1.0), top=1.2 * max(top, 1.0))
    return as_png(figure, axes)


def fairness_png(groups: Sequence[GroupFairness]) -> bytes | None:
    """Missed leavers and false alarms of each told group with their intervals; None where fewer than two are told."""
    told = [entry for entry in groups if any(_value(entry, metric) is not None for metric, _, _ in _ERRORS)]
    if len(told) < 2:
        return None
    figure, axes = blank("Share of the group's leavers, or of its stayers", "")
    axes.set_ylim(-0.5, len(told) - 0.5)
    for offset, (metric, title, colour) in zip((-0.12, 0.12), _ERRORS, strict=True):
        rows = [(y, entry) for y, entry in enumerate(told) if _value(entry, metric) is not None]
        points = [_drawn(entry, entry.figures[metric].value) for _, entry in rows]
        axes.plot(points, [y + offset for y, _ in rows], "o", color=colour, label=title)
        for y, entry in rows:
            figure_of = entry.figures[metric]
            ends = [_drawn(entry, end) for end in (figure_of.low, figure_of.high) if end is not None]
            axes.plot(ends, [y + offset] * len(ends), color=colour, linewidth=1.2)
    axes.set_yticks(range(len(told)), [entry.group for entry in told])
    axes.set_xlim(0, 1)
    return as_png(figure, axes)


def seen_png(report: EvaluationReport) -> bytes | None:
    """Share of all leavers who had been flagged so many days before their last day; None where nothing is told."""
    lead = report.lead_time(model=report.context.champion)
    if lead is None or not lead.share_seen:
        return None
    figure, axes = blank("Days before the last day attended", "Share of all leavers who had been flagged")
    axes.plot(SEEN_AT_DAYS, lead.share_seen, "o-", color=_CHAMPION, label=model_title(report.context.champion))
    axes.set_ylim(0, 1)
    axes.invert_xaxis()
    return as_png(figure, axes)


def _champion_line(axes: Axes, x: list[float], entry: NetBenefit, *, title: str) -> None:
    axes.fill_between(x, [1000 * v for v in entry.low], [1000 * v for v in entry.high], color=_CHAMPION, alpha=0.15)
    axes.plot(x, _per_thousand(entry), color=_CHAMPION, linewidth=2.4, label=title)


def _per_thousand(entry: NetBenefit) -> list[float]:
    return [1000 * value for value in entry.value]


def _drawn(entry: GroupFairness, value: float | None) -> float:
    """As in the tables, the ends are not told exactly of small groups."""
    share = 0.0 if value is None else value
    if entry.n_students is None or entry.n_students < CODED_BELOW_STUDENTS:
        return min(max(share, LOWEST_TOLD), HIGHEST_TOLD)
    return share


def _value(entry: GroupFairness, metric: str) -> float | None:
    figure = entry.figures.get(metric)
    return None if figure is None else figure.value


def _is_calibrated(report: EvaluationReport, task: str) -> bool:
    return all(entry.note is None for entry in report.tasks if entry.name == task)
