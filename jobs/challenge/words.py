"""A challenge's report in words: a heading, and per part a table and one sentence on what may be concluded today."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edupulse_ml.evaluation.challenge_report import (
    CHALLENGER,
    CHAMPION,
    MEAN_SCORE,
    OUTCOME_METRICS,
    SHARE_LEFT,
    ArmReport,
    ChallengeReport,
    ModelFigures,
    ShadowReport,
)
from edupulse_ml.evaluation.figures import Figure
from edupulse_ml.evaluation.html import METRIC_TITLES
from edupulse_ml.evaluation.sequential import Evidence

_TITLES: Final = {
    MEAN_SCORE: "Mean score",
    SHARE_LEFT: "Share that left",
    **{name: METRIC_TITLES[name] for name in OUTCOME_METRICS},
}
_FEW: Final = "fewer than 10"


@dataclass(frozen=True)
class Part:
    """One part of the report. `rows` hold a name and what champion and challenger have; none where too few students were
    asked about, which `sentence` then says.
    """

    title: str
    rows: tuple[tuple[str, str, str], ...]
    sentence: str


def title(report: ChallengeReport) -> str:
    """Who stands against whom."""
    return f"Version {report.challenger} against {_champions(report)}"


def heading(report: ChallengeReport) -> str:
    """Who stands against whom, since when, and what counts as an outcome."""
    over = " It is over." if report.is_over else ""
    return (
        f"{title(report)}, since {report.begun_at[:10]}: {percent(report.shadow_weight)} of the students in the shadow, "
        f"{percent(report.split_weight)} answered.{over}{_counted(report)} "
        f"Outcomes: left within {report.horizon_days} days."
    )


def percent(share: float) -> str:
    """A share (0-1) with all the digits it was set to: `20%`, `0.05%`."""
    return f"{100 * share:.6g}%"


def _champions(report: ChallengeReport) -> str:
    if not report.champions:
        return "the champion"
    *others, last = report.champions
    return f"champions {', '.join(others)} and {last}" if others else f"champion {last}"


def _counted(report: ChallengeReport) -> str:
    if report.counted_until is None:
        return ""
    return (
        f" Answers count until {report.counted_until[:10]}, when the challenger, or a version that answers another question, "
        "began to answer as champion."
    )


def parts(report: ChallengeReport) -> tuple[Part, Part]:
    """The shadow, then the two arms."""
    return _shadow_part(report.shadow), _arms_part(report.arms)


def shadow_sentence(evidence: Evidence | None) -> str:
    """What the shadow says of the two models' errors, however often one looks."""
    if evidence is None:
        return f"Which one predicts better cannot be told: {_FEW} students left, or stayed, in the time judged."
    interval = (
        ""
        if evidence.low is None
        else f" (mean gain {evidence.mean:+.4f}, {evidence.low:+.4f} to {evidence.high:+.4f})"
    )
    said = {
        "positive": "The challenger predicts better",
        "negative": "The champion predicts better",
        "open": "Neither is shown to predict better yet",
    }[evidence.side]
    return f"{said}{interval}. {_looks(evidence)}"


def arm_sentence(evidence: Evidence | None) -> str:
    """What the arms say of outcomes, however often one looks."""
    if evidence is None:
        return f"The arms' outcomes cannot be told: {_FEW} students left, or stayed, in one of them."
    said = {
        "positive": "More students leave in the challenger's arm",
        "negative": "Fewer students leave in the challenger's arm",
        "open": "Neither arm is shown to lose fewer students yet",
    }[evidence.side]
    return f"{said}. {_looks(evidence)}"


def _looks(evidence: Evidence) -> str:
    return (
        f"Evidence (e-values): {evidence.for_positive:.3g} and {evidence.for_negative:.3g}; {2 / evidence.alpha:.0f} "
        f"is enough, at level {evidence.alpha:g} whenever one looks."
    )


def _shadow_part(report: ShadowReport | None) -> Part:
    if report is None:
        return Part("In the shadow", (), f"In the shadow: {_FEW} students so far.")
    shared = {
        "Same category": report.same_category,
        "Rank correlation": report.rank_correlation,
        **{f"Same list, {name.replace('top', 'top ')} %": figure for name, figure in report.list_overlap.items()},
    }
    return Part(
        f"The same {report.n_students:,} students, scored by both",
        (*_model_rows(report.models), *((title, _told(figure), "") for title, figure in shared.items())),
        shadow_sentence(report.brier_gain),
    )


def _arms_part(report: ArmReport | None) -> Part:
    if report is None:
        return Part("In two arms", (), f"In two arms: {_FEW} students so far.")
    n, others = report.n_students, report.answers_by_other
    return Part(
        "Students split between the two",
        (
            *_model_rows(report.models),
            ("Students in the arm", _count(n[CHAMPION]), _count(n[CHALLENGER])),
            ("Answers by the other model", _told(others[CHAMPION]), _told(others[CHALLENGER])),
        ),
        arm_sentence(report.leavers_in_challenger),
    )


def _model_rows(models: Mapping[str, ModelFigures]) -> tuple[tuple[str, str, str], ...]:
    champion, challenger = models[CHAMPION], models[CHALLENGER]
    return (
        ("Students with a known outcome", _count(champion.n_students), _count(challenger.n_students)),
        *((row, _told(champion.figures[name]), _told(challenger.figures[name])) for name, row in _TITLES.items()),
    )


def _count(n: int | None) -> str:
    return _FEW if n is None else f"{n:,}"


def _told(figure: Figure) -> str:
    return f"{figure.value:.3f}" if figure.value is not None else figure.reason or "–"
