"""The report as one HTML file, readable for a school board: sentences first, then figures, then how they were made."""

from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined

from edupulse_ml.evaluation import plots, wording
from edupulse_ml.evaluation.metrics import METRICS
from edupulse_ml.evaluation.report import POOLED, EvaluationReport, model_title

_SHOWN: Final = ("auc", "average_precision", "precision_top5", "recall_top5", "precision_top10", "recall_top10")
_CALIBRATION: Final = ("brier", "ece", "calibration_slope", "calibration_intercept")

METRIC_TITLES: Final = {
    "auc": "ROC-AUC",
    "average_precision": "Average precision",
    "precision_top5": "Precision, top 5 %",
    "recall_top5": "Recall, top 5 %",
    "precision_top10": "Precision, top 10 %",
    "recall_top10": "Recall, top 10 %",
    "brier": "Brier",
    "ece": "ECE",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration in the large",
}


def report_html(report: EvaluationReport) -> str:
    """The whole page, pictures embedded: nothing is loaded from elsewhere."""
    template = resources.files("edupulse_ml.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "interval": wording.with_interval,
        "share": wording.share,
        "days": lambda value: wording.number(value, digits=0),
        "model_title": model_title,
    }
    champion_lead = report.lead_time(model=report.context.champion)
    return environment.from_string(template).render(
        report=report,
        context=report.context,
        models=sorted(report.models, key=lambda name: name != report.context.champion),
        pictures={name: plots.data_url(png) for name, png in plots.report_pngs(report).items()},
        question=wording.question,
        flagged=wording.of_hundred_flagged,
        lead_sentence=None if champion_lead is None else wording.lead_time_sentence(champion_lead),
        shown=_SHOWN,
        calibration=_CALIBRATION,
        metric_titles={metric: METRIC_TITLES[metric] for metric in METRICS},
        pooled=POOLED,
    )
