"""A report in sentences that a school board reads: counts of students, what is not known, and what follows from it."""

from typing import Final

from edupulse_ml.evaluation.counselor_slots import Capacity
from edupulse_ml.evaluation.decision_curve import DecisionCurve
from edupulse_ml.evaluation.fairness import PAIR, GroupFairness, GroupGap
from edupulse_ml.evaluation.faithfulness import Faithfulness
from edupulse_ml.evaluation.figures import Figure
from edupulse_ml.evaluation.generalisation import HELD_OUT_SCHOOLS, NEW_DISTRICT, Generalisation
from edupulse_ml.evaluation.lead_time import TOO_LATE_DAYS, LeadTime
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.evaluation.stability import Stability

CODED_BELOW_STUDENTS: Final = 300
LOWEST_TOLD: Final = 0.05
HIGHEST_TOLD: Final = 0.95

ATTRIBUTE_TITLES: Final = {
    "sex": "Sex",
    "race_ethnicity": "Race and ethnicity",
    "english_learner": "English learners",
    "special_education": "Special education",
    "economically_disadvantaged": "Economically disadvantaged",
    "homeless": "Homeless",
    "foster_care": "Foster care",
}

MUST_NOT: Final = (
    "decide about discipline, suspension, placement out of a school, admission, or grades",
    "be shown to students or families as a label; what may be shown is the support that is offered",
    "stand in for a conversation: a counselor who knows better overrules it, and says so",
    "judge teachers, counselors or schools",
    "be sold, shared outside the district, or used for anything but support",
    "be used in another district, or in school years unlike those below, before it has been judged there",
)


def attribute_title(name: str) -> str:
    """`race_ethnicity × sex` as a heading."""
    return " and ".join(ATTRIBUTE_TITLES.get(part, part).lower() for part in name.split(PAIR)).capitalize()


def coded_share(figure: Figure | None, *, n_students: int | None) -> str:
    """A share in per cent, as "under 5 %" or "over 95 %" at the ends where fewer than 300 students stand behind it.

    Near 0 or 1, a share would say the same of every student of a small group (sources.md 6.4: top and bottom coding).
    """
    if figure is None or figure.value is None:
        return "–"
    if n_students is None or n_students < CODED_BELOW_STUDENTS:
        if figure.value < LOWEST_TOLD:
            return "under 5 %"
        if figure.value > HIGHEST_TOLD:
            return "over 95 %"
    return f"{100 * figure.value:.0f} %"


def capacity_sentence(entry: Capacity) -> str | None:
    """What lists of this length hold; None where that is not known."""
    if entry.precision.value is None or entry.recall.value is None or entry.flagged_per_leaver is None:
        return None
    length = (
        f"{entry.slots} students of the district a month"
        if entry.slots is not None
        else f"the {round(100 * (entry.share or 0))} % with the highest scores each month"
    )
    return (
        f"Seeing {length}: about {round(100 * entry.precision.value)} of 100 on the list left, "
        f"{round(100 * entry.recall.value)} of every 100 who left were on it; "
        f"one leaver for every {entry.flagged_per_leaver:.0f} students seen."
    )


def too_late_sentence(lead: LeadTime) -> str | None:
    """Whom the lists missed, or named too late; None where too few were flagged to say."""
    if lead.share_too_late is None or lead.share_never_flagged is None:
        return None
    in_time = 1 - lead.share_too_late - lead.share_never_flagged
    return (
        f"Of 100 students who left while the lists were drawn up, {round(100 * in_time)} had been named at least "
        f"{TOO_LATE_DAYS} days before their last day, {round(100 * lead.share_too_late)} later than that, and "
        f"{round(100 * lead.share_never_flagged)} never."
    )


def decision_sentence(curve: DecisionCurve, *, strategy: str, title: str) -> str | None:
    """Where acting on the scores is worth more than the strategy; None where the strategy was not compared."""
    entry = curve.strategy(strategy)
    if entry is None:
        return None
    sure = [t for t, low in zip(curve.thresholds, entry.champion_minus_low, strict=True) if low > 0]
    worse = [t for t, high in zip(curve.thresholds, entry.champion_minus_high, strict=True) if high < 0]
    of = len(curve.thresholds)
    if len(sure) == of:
        return f"{title}: the scores are surely worth more, however support and false alarms are weighed."
    said = f"surely worth more at {len(sure)} of {of} ways to weigh support against false alarms"
    lost = f", surely worth less at {len(worse)}" if worse else ""
    return f"{title}: the scores are {said}{lost}; elsewhere the difference is within chance."


def gap_sentence(gap: GroupGap) -> str:
    """The surest difference in misses or false alarms between two groups, and how sure it is."""
    errors = {"fnr": "missed leavers", "fpr": "false alarms"}.get(gap.metric, gap.metric)
    value, low, high = gap.gap.value, gap.gap.low, gap.gap.high
    if value is None:
        return f"{errors.capitalize()}: {gap.gap.reason}."
    among = "who left" if gap.metric == "fnr" else "who stayed"
    sure = "chance alone could make that difference" if low is None or low <= 0 else "more than chance would make"
    reach = "" if low is None or high is None else f" (from {100 * low:.0f} to {100 * high:.0f})"
    return (
        f"{errors.capitalize()}: of every 100 {among}, {100 * value:.0f} more among {gap.higher} than among "
        f"{gap.lower}{reach}: {sure}."
    )


def hidden_groups(groups: tuple[GroupFairness, ...]) -> str | None:
    """Of whom nothing, or nothing about misses, is said."""
    nothing = [entry.group for entry in groups if entry.reason is not None]
    partly = [entry.group for entry in groups if entry.reason is None and entry.figures["fnr"].value is None]
    said = []
    if nothing:
        said.append(f"Nothing is said about {', '.join(nothing)}: too few students, or others could be worked out.")
    if partly:
        said.append(f"Too few left to say how many leavers were missed among {', '.join(partly)}.")
    return " ".join(said) or None


def stability_sentence(entry: Stability) -> str | None:
    """How much of a list stays; None where that is not known."""
    if entry.jaccard.value is None:
        return None
    stay = 2 * entry.jaccard.value / (1 + entry.jaccard.value)
    return f"Of 100 students on a week's list, about {round(100 * stay)} are on the next week's list too."


def calibration_sentence(report: EvaluationReport, *, task: str) -> str | None:
    """Whether risks may be read as they are; None where that was not measured."""
    model = report.context.champion
    slope = report.figure("calibration_slope", model=model, task=task).value
    error = report.figure("ece", model=model, task=task).value
    if slope is None or error is None or any(entry.note for entry in report.tasks if entry.name == task):
        return None
    words = "may be read as they are"
    if slope < 0.9:
        words = "are too extreme: high ones are said too high, low ones too low"
    elif slope > 1.1:
        words = "are too cautious: high ones are said too low, low ones too high"
    return f"Risks {words} (slope {slope:.2f}; on average {100 * error:.1f} students in 100 from what was found)."


def generalisation_sentence(entry: Generalisation) -> str:
    """What is lost where nothing was learned."""
    who = {
        HELD_OUT_SCHOOLS: f"{entry.n_schools} schools, each judged by a model that never saw it",
        NEW_DISTRICT: "half of the schools, judged by a model that saw only the other half",
    }.get(entry.setting, "students with at most four weeks of record")
    unseen, seen = entry.unseen.get("recall_top10"), entry.seen.get("recall_top10")
    if unseen is None or seen is None or unseen.value is None or seen.value is None:
        return f"{who.capitalize()}: {entry.reason or 'nothing can be said'}."
    return (
        f"{who.capitalize()}: a list of one in ten held {round(100 * unseen.value)} of every 100 who left, against "
        f"{round(100 * seen.value)} {'among students with longer records' if entry.n_schools is None else 'when all schools were learned from'}."
    )


def faithfulness_sentences(found: Faithfulness) -> list[str]:
    """Whether the reasons beside a score tell what moves it; what was not measured is left out."""
    said = [f"Tested on {found.n_students} students with high scores and {found.n_reasons} reasons shown to them."]
    if found.polarity.value is not None:
        said.append(
            f"Of 100 reasons, {round(100 * found.polarity.value)} move the score as they say when they are taken away."
        )
    if found.deletion_gain.value is not None:
        said.append(
            "Without the weeks that the reasons rest on, the score changes "
            f"{found.deletion_gain.value:.1f} times as much as without weeks picked by chance."
        )
    if found.noise_overlap.value is not None:
        said.append(
            f"When records change by a hair, the three main reasons overlap by {round(100 * found.noise_overlap.value)} %."
        )
    return said
