"""A challenge's report on the terminal."""

from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

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


def show_comparison(report: ChallengeReport, console: Console) -> None:
    """Both parts of the report, and in one sentence each what may be concluded today."""
    over = " It is over." if report.is_over else ""
    console.print(
        f"Version {report.challenger} against champion {report.champion}, since {report.begun_at[:10]}: "
        f"{report.shadow_weight:.0%} of the students in the shadow, {report.split_weight:.0%} answered.{over} "
        f"Outcomes: left within {report.horizon_days} days."
    )
    if report.shadow is None:
        console.print(f"In the shadow: {_FEW} students so far.")
    else:
        _show_shadow(report.shadow, console)
    if report.arms is None:
        console.print(f"In two arms: {_FEW} students so far.")
    else:
        _show_arms(report.arms, console)


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


def _show_shadow(report: ShadowReport, console: Console) -> None:
    table = _table(f"The same {report.n_students:,} students, scored by both", report.models)
    for title, figure in {
        "Same category": report.same_category,
        "Rank correlation": report.rank_correlation,
        **{f"Same list, {name.replace('top', 'top ')} %": figure for name, figure in report.list_overlap.items()},
    }.items():
        table.add_row(title, _told(figure), "")
    console.print(table)
    console.print(shadow_sentence(report.brier_gain))


def _show_arms(report: ArmReport, console: Console) -> None:
    table = _table("Students split between the two", report.models)
    table.add_row("Students in the arm", *(_count(report.n_students[arm]) for arm in (CHAMPION, CHALLENGER)))
    table.add_row(
        "Answers by the other model", *(_told(report.answers_by_other[arm]) for arm in (CHAMPION, CHALLENGER))
    )
    console.print(table)
    console.print(arm_sentence(report.leavers_in_challenger))


def _table(title: str, models: Mapping[str, ModelFigures]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "champion", "challenger"):
        table.add_column(column, overflow="fold")
    sides = [models[CHAMPION], models[CHALLENGER]]
    table.add_row("Students with a known outcome", *(_count(side.n_students) for side in sides))
    for name, row in _TITLES.items():
        table.add_row(row, *(_told(side.figures[name]) for side in sides))
    return table


def _count(n: int | None) -> str:
    return _FEW if n is None else f"{n:,}"


def _told(figure: Figure) -> str:
    return f"{figure.value:.3f}" if figure.value is not None else figure.reason or "–"
