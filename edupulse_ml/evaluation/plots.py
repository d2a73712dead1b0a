"""Plots of a report as PNG, drawn without a display."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Final, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edupulse_ml.evaluation.report import (
    CalibrationCurve,
    EvaluationReport,
    ModelLeadTime,
    PrecisionRecallCurve,
    model_title,
)

_SIZE_INCHES: Final = (6.0, 4.0)
_DPI: Final = 110
_COLOURS: Final = ("#1b4f9c", "#c8562b", "#2f8f5b", "#7a5195", "#8a8a8a", "#b8860b", "#4aa3a1", "#333333")
_MAX_TICKS: Final = 12

Numbers = Sequence[float] | range
Curve = TypeVar("Curve", CalibrationCurve, PrecisionRecallCurve, ModelLeadTime)


def precision_recall_png(report: EvaluationReport, *, task: str) -> bytes | None:
    """Pooled precision against recall of every model; None where nothing is told."""
    curves = [curve for curve in report.precision_recall if curve.task == task]
    if not curves:
        return None
    figure, axes = blank("Share of all leavers found (recall)", "Share of flags that are right (precision)")
    for curve in _champion_last(report, curves):
        _draw(axes, report, curve.model, x=curve.recall, y=curve.precision)
    base_rate = report.group(model=report.context.champion, task=task).base_rate
    if base_rate is not None:
        axes.axhline(base_rate, color="#bbbbbb", linestyle=":", label=f"By chance ({base_rate:.1%})")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return as_png(figure, axes)


def reliability_png(report: EvaluationReport, *, task: str) -> bytes | None:
    """Share that left against the mean score, per bin; None where nothing is told."""
    curves = [curve for curve in report.calibration if curve.task == task and len(curve.bins) > 1]
    if not curves:
        return None
    figure, axes = blank("Risk that the model said", "Share that left")
    top = max(max(b.mean_score, b.share_left) for curve in curves for b in curve.bins)
    axes.plot([0, top], [0, top], color="#bbbbbb", linestyle=":", label="Right")
    for curve in _champion_last(report, curves):
        x, y = [b.mean_score for b in curve.bins], [b.share_left for b in curve.bins]
        _draw(axes, report, curve.model, x=x, y=y, marker="o")
    return as_png(figure, axes)


def lead_time_png(report: EvaluationReport) -> bytes | None:
    """Share of the caught leavers that were flagged at least so many days ahead; None where nothing is told."""
    told = [entry for entry in report.lead_times if entry.lead_time.ecdf_days]
    if not told:
        return None
    figure, axes = blank("Days from the first sustained flag to the last day attended", "Share of those flagged")
    for entry in _champion_last(report, told):
        days = np.asarray(entry.lead_time.ecdf_days)
        _draw(axes, report, entry.model, x=days.tolist(), y=(1 - np.linspace(0, 1, len(days))).tolist())
    axes.axvline(60, color="#bbbbbb", linestyle=":", label="60 days")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    return as_png(figure, axes)


def recall_by_landmark_png(report: EvaluationReport, *, task: str, metric: str = "recall_top10") -> bytes | None:
    """Recall at the top 10 % of every landmark; None where fewer than two landmarks are told."""
    shown = [
        landmark
        for landmark in report.landmarks
        if report.figure(metric, model=report.context.champion, task=task, landmark=landmark).value is not None
    ]
    if len(shown) < 2:
        return None
    figure, axes = blank("Landmark", "Share of all leavers among the top 10 %")
    for model in sorted(report.models, key=lambda name: name == report.context.champion):
        values = [report.figure(metric, model=model, task=task, landmark=landmark).value for landmark in shown]
        y = [np.nan if value is None else value for value in values]
        _draw(axes, report, model, x=range(len(shown)), y=y, marker="o")
    step = -(-len(shown) // _MAX_TICKS)
    axes.set_xticks(range(0, len(shown), step), shown[::step], rotation=30, ha="right")
    axes.set_ylim(bottom=0)
    return as_png(figure, axes)


def data_url(png: bytes) -> str:
    """The picture as a `data:` URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def report_pngs(report: EvaluationReport) -> dict[str, bytes]:
    """All pictures that can be drawn, by name: `<plot>-<task>`, and `lead-time`."""
    drawn: dict[str, bytes | None] = {"lead-time": lead_time_png(report)}
    for task in report.tasks:
        drawn[f"precision-recall-{task.name}"] = precision_recall_png(report, task=task.name)
        if task.note is None:
            drawn[f"reliability-{task.name}"] = reliability_png(report, task=task.name)
        drawn[f"recall-by-landmark-{task.name}"] = recall_by_landmark_png(report, task=task.name)
    return {name: png for name, png in drawn.items() if png is not None}


def blank(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """An empty picture with named axes."""
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw(axes: Axes, report: EvaluationReport, model: str, *, x: Numbers, y: Numbers, marker: str = "") -> None:
    champion = model == report.context.champion
    others = [name for name in report.models if name != report.context.champion]
    axes.plot(
        x,
        y,
        marker=marker,
        markersize=3,
        color=_COLOURS[0] if champion else _COLOURS[1 + others.index(model) % (len(_COLOURS) - 1)],
        linewidth=2.4 if champion else 1.2,
        label=model_title(model),
    )


def _champion_last(report: EvaluationReport, entries: Sequence[Curve]) -> list[Curve]:
    return sorted(entries, key=lambda entry: entry.model == report.context.champion)


def as_png(figure: Figure, axes: Axes) -> bytes:
    """The picture with its legend."""
    axes.legend(frameon=False, fontsize=8)
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
