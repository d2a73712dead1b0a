"""The model card: one HTML file for a school board, with what a model can do, to whom it is unfair, and what it is not for."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from edupulse_ml.evaluation import card_sentences as words
from edupulse_ml.evaluation import plots, wording
from edupulse_ml.evaluation.card_plots import STRATEGY_TITLES, card_pngs
from edupulse_ml.evaluation.fairness import GroupFairness
from edupulse_ml.evaluation.figures import TOO_FEW, Figure
from edupulse_ml.evaluation.report import EvaluationReport, model_title

_GAPS_IN_WORDS: Final = ("fnr", "fpr")


@dataclass(frozen=True)
class CardFacts:
    """What the card says beside the report: the registered version, and sentences that stand above all else, such as
    that the model was promoted against the policy.
    """

    version: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Row:
    group: str
    hidden: str | None
    n_students: int | None
    missed: str
    alarms: str
    right: str
    listed: str
    calibration: str
    auc: str


@dataclass(frozen=True)
class _Attribute:
    attribute: str
    title: str
    sentences: tuple[str, ...]
    rows: tuple[_Row, ...]


def model_card_html(report: EvaluationReport, *, facts: CardFacts = CardFacts()) -> str:
    """The whole page, pictures embedded: nothing is loaded from elsewhere. It speaks of the first task's lists."""
    task = report.tasks[0].name
    pictures = {name: plots.data_url(png) for name, png in card_pngs(report, task=task).items()}
    template = resources.files("edupulse_ml.evaluation").joinpath("model_card.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"share": wording.share, "model_title": model_title}
    model = report.context.champion
    lead = report.lead_time(model=model)
    not_recorded = () if report.fairness is None else report.fairness.not_recorded
    return environment.from_string(template).render(
        report=report,
        context=report.context,
        facts=facts,
        must_not=words.MUST_NOT,
        question=wording.question,
        flagged=wording.of_hundred_flagged,
        capacity=[
            sentence
            for entry in report.capacity
            if (entry.model, entry.task) == (model, task) and (sentence := words.capacity_sentence(entry))
        ],
        lead_sentence=None if lead is None else wording.lead_time_sentence(lead),
        too_late=None if lead is None else words.too_late_sentence(lead),
        stability=next((words.stability_sentence(entry) for entry in report.stability if entry.model == model), None),
        decision=_decision(report, task),
        calibration=words.calibration_sentence(report, task=task),
        fairness=_fairness(report, task),
        generalisation=[words.generalisation_sentence(entry) for entry in report.generalisation if entry.task == task],
        reasons=[] if report.faithfulness is None else words.faithfulness_sentences(report.faithfulness),
        not_recorded=", ".join(words.attribute_title(name).lower() for name in not_recorded),
        picture=lambda name, caption: _picture(pictures, name, caption),
    )


def _picture(pictures: Mapping[str, str], name: str, caption: str) -> Markup:
    if name not in pictures:
        return Markup()
    said = escape(caption)
    return Markup('<figure><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>').format(
        pictures[name], said, said
    )


def _decision(report: EvaluationReport, task: str) -> list[str]:
    curve = next((entry for entry in report.decision_curve if entry.task == task), None)
    if curve is None:
        return []
    said = [words.decision_sentence(curve, strategy=name, title=title) for name, title in STRATEGY_TITLES.items()]
    return [sentence for sentence in said if sentence is not None]


def _fairness(report: EvaluationReport, task: str) -> list[_Attribute]:
    fairness, model = report.fairness, report.context.champion
    if fairness is None:
        return []
    found: list[_Attribute] = []
    for attribute in fairness.attributes:
        groups = fairness.of(model=model, task=task, attribute=attribute)
        gaps = [fairness.gap(metric, model=model, task=task, attribute=attribute) for metric in _GAPS_IN_WORDS]
        said = [words.gap_sentence(gap) for gap in gaps if gap is not None]
        hidden = words.hidden_groups(groups)
        found.append(
            _Attribute(
                attribute,
                words.attribute_title(attribute),
                (*said, *([hidden] if hidden else [])),
                tuple(_row(entry) for entry in groups),
            )
        )
    return found


def _row(entry: GroupFairness) -> _Row:
    def coded(metric: str) -> str:
        return words.coded_share(entry.figures.get(metric), n_students=entry.n_students)

    return _Row(
        group=entry.group,
        hidden=entry.reason and TOO_FEW,
        n_students=entry.n_students,
        missed=coded("fnr"),
        alarms=coded("fpr"),
        right=coded("ppv"),
        listed=coded("selection_rate"),
        calibration=_signed(entry.figures.get("calibration_error")),
        auc=wording.number(entry.figures.get("auc", Figure(None)).value, digits=2),
    )


def _signed(figure: Figure | None) -> str:
    return "–" if figure is None or figure.value is None else f"{100 * figure.value:+.1f} %"
