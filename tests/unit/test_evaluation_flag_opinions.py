"""Opinions on flags: what is told of reasons and groups, and what is kept back."""

from collections.abc import Sequence

import numpy as np

from edupulse_ml.core.feedback import FlagWord
from edupulse_ml.core.outcomes import LABEL_UNKNOWN
from edupulse_ml.evaluation.flag_opinions import GroupOpinions, Opinions, opinion_report

Row = tuple[FlagWord, Sequence[str], int, str | None]
"""Verdict, reasons shown, whether the student left, sex."""


def opinions(*rows: Row, student: Sequence[int] | None = None) -> Opinions:
    return Opinions(
        student=np.asarray(range(len(rows)) if student is None else student, np.int32),
        verdict=[row[0] for row in rows],
        reasons=[row[1] for row in rows],
        left=np.asarray([row[2] for row in rows], np.int8),
        groups={"sex": [row[3] for row in rows]},
    )


def group(report, attribute: str, name: str) -> GroupOpinions:
    (found,) = [one for one in report.by_group if (one.attribute, one.group) == (attribute, name)]
    return found


def test_dismissals_are_counted_by_reason_and_by_group() -> None:
    report = opinion_report(
        opinions(
            *[("wrong", ("absences",), 1, "f")] * 12,
            *[("useful", ("absences", "grades"), 0, "f")] * 12,
            *[("already_known", ("grades",), 1, "m")] * 12,
            *[("not_useful", (), LABEL_UNKNOWN, "m")] * 24,
        )
    )
    assert report.n_opinions == 60
    assert report.verdicts == {"useful": 12, "not_useful": 24, "wrong": 12, "already_known": 12}
    assert group(report, "reason", "absences") == GroupOpinions("reason", "absences", 24, 0.5)
    assert group(report, "reason", "grades").dismissed == 0
    assert group(report, "sex", "f").dismissed == 0.5
    assert group(report, "sex", "m").dismissed == 24 / 36
    dismissed, agreed = report.later_left
    assert (dismissed.answer, dismissed.n_opinions, dismissed.left) == ("dismissed", 12, 1.0), "known ends only"
    assert (agreed.answer, agreed.n_opinions, agreed.left) == ("agreed", 24, 0.5)


def test_fewer_than_ten_students_are_not_told_of() -> None:
    report = opinion_report(opinions(*[("useful", ("absences",), 0, "f")] * 30, *[("wrong", ("rare",), 1, "m")] * 9))
    assert report.verdicts["wrong"] is None
    assert group(report, "reason", "rare").n_opinions is None
    assert group(report, "sex", "m").dismissed is None
    assert group(report, "sex", "f").dismissed is None, "the others would be all less these"
    assert [one.left for one in report.later_left] == [None, None]
    assert report.n_opinions == 39


def test_many_opinions_on_few_students_are_few_students() -> None:
    report = opinion_report(opinions(*[("wrong", ("absences",), 0, "f")] * 50, student=[at % 5 for at in range(50)]))
    assert report.n_opinions is None
    assert set(report.verdicts.values()) == {None}
    assert all(one.n_opinions is None for one in report.by_group)
