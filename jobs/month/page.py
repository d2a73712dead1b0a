"""The report of a month as one HTML page, the outcome first."""

from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined

from edupulse_ml.evaluation.gate_rules import RuleResult, bracket
from edupulse_ml.evaluation.html import METRIC_TITLES
from edupulse_ml.evaluation.report import model_title
from edupulse_ml.monitoring.figures import TITLES
from edupulse_ml.monitoring.page import bracket as watched_bracket
from jobs.month.report import MonthReport

_MARKS: Final = {"passed": "met", "failed": "not met", "untold": "too few to tell"}


def month_html(report: MonthReport) -> str:
    """The whole page; nothing is loaded from elsewhere."""
    template = resources.files("jobs.month").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"model_title": model_title, "figure": _figure, "watched": watched_bracket}
    return environment.from_string(template).render(
        report=report, marks=_MARKS, metric_titles=METRIC_TITLES, alert_titles=TITLES
    )


def _figure(rule: RuleResult) -> str:
    return "–" if rule.figure.value is None else bracket(rule.figure)
