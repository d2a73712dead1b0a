"""The monitoring of one day as one HTML file: alerts with what to do, then every figure."""

from collections.abc import Sequence
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from edupulse_ml.evaluation.plots import as_png, blank, data_url
from edupulse_ml.evaluation.wording import number
from edupulse_ml.monitoring.figures import TITLES, FigureKind, WatchedFigure, WatchReport

_DRIFT: Final[tuple[FigureKind, ...]] = ("psi", "ks", "missing", "score_psi", "score_mean")
_SHOWN_FEATURES: Final = 12


def bracket(figure: WatchedFigure) -> str:
    """`0.712 [0.690, 0.733]`, a dash where there is no value."""
    if figure.low is None or figure.high is None:
        return number(figure.value)
    return f"{number(figure.value)} [{number(figure.low)}, {number(figure.high)}]"


def chance(value: float | None) -> str:
    """A probability that is read, not computed with."""
    if value is None:
        return "–"
    return "under 0.001" if value < 0.001 else number(value)


def page_html(report: WatchReport) -> str:
    """The whole page, the picture embedded: nothing is loaded from elsewhere."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": number, "bracket": bracket, "chance": chance}
    rows = environment.from_string(_file("figure_table.html"))

    def table(figures: Sequence[WatchedFigure]) -> Markup:
        return Markup(rows.render(figures=figures, titles=TITLES))  # noqa: S704 - rendered with autoescape

    png = drift_png(report)
    drift = report.of(*_DRIFT)
    return environment.from_string(_file("page.html")).render(
        report=report,
        titles=TITLES,
        table=table,
        picture=None if png is None else data_url(png),
        psi_limit=next((figure.limit for figure in report.of("psi") if figure.limit is not None), None),
        drift=sorted(
            drift, key=lambda figure: (not figure.is_alert, _DRIFT.index(figure.kind), -(figure.value or 0.0))
        ),
        outcomes=[figure for figure in report.figures if figure.kind not in _DRIFT],
    )


def drift_png(report: WatchReport) -> bytes | None:
    """The features with the highest stability index among those that are judged; None where there are none."""
    told = sorted(
        (figure for figure in report.of("psi") if figure.value is not None and figure.limit is not None),
        key=lambda figure: figure.value or 0.0,
    )[-_SHOWN_FEATURES:]
    if not told:
        return None
    picture, axes = blank("Stability index (PSI)", "")
    colours = ["#c8562b" if figure.is_alert else "#1b4f9c" for figure in told]
    axes.barh([figure.subject for figure in told], [figure.value or 0.0 for figure in told], color=colours)
    axes.axvline(told[-1].limit or 0.0, color="#888888", linestyle=":", label="Limit")
    return as_png(picture, axes)


def _file(name: str) -> str:
    return resources.files("edupulse_ml.monitoring").joinpath(name).read_text(encoding="utf-8")
