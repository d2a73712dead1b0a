"""A challenge's report as one HTML page."""

from importlib import resources

from jinja2 import Environment, StrictUndefined

from edupulse_ml.evaluation.challenge_report import ChallengeReport
from jobs.challenge.words import heading, parts, title


def comparison_html(report: ChallengeReport) -> str:
    """The whole page, what may be concluded first; nothing is loaded from elsewhere."""
    template = resources.files("jobs.challenge").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        report=report, title=title(report), heading=heading(report), parts=parts(report)
    )
