"""Opinions on flags: what is told of reasons and groups, and what is kept back."""

from collections.abc import Sequence

import numpy as np
import pytest

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
            *[("wrong", ("absences",), 0, "f")] * 24,
            *[("useful", ("absences", "grades"), 0, "f")] * 12,
            *[("already_known", ("grades",), 1, "m")] * 12,
            *[("not_useful", (), LABEL_UNKNOWN, "m")] * 24,
        )
    )
    assert report.n_opinions == 84
    assert report.verdicts == {"useful": 12, "not_useful": 24, "wrong": 36, "already_known": 12}
    assert group(report, "reason", "absences") == GroupOpinions("reason", "absences", 48, 0.75)
    assert group(report, "reason", "grades") == GroupOpinions("reason", "grades", 24, None), "nobody dismissed them"
    assert group(report, "sex", "f").dismissed == 0.75
    assert group(report, "sex", "m").dismissed == 24 / 36
    dismissed, agreed = report.later_left
    assert (dismissed.answer, dismissed.n_opinions, dismissed.left) == ("dismissed", 36, 1 / 3), "known ends only"
    assert (agreed.answer, agreed.n_opinions, agreed.left) == ("agreed", 24, 0.5)


@pytest.mark.parametrize("few", [0, 9])
def test_a_share_is_not_told_where_it_tells_of_a_few_dismissed_or_not_dismissed(few: int) -> None:
    for rare, usual in (("wrong", "useful"), ("useful", "wrong")):
        rows: list[Row] = [
            *[(rare, ("absences",), 0, "f")] * few,
            *[(usual, ("absences",), 0, "f")] * 40,
            *[("wrong", ("grades",), 0, "m")] * 30,
            *[("useful", ("grades",), 0, "m")] * 30,
        ]
        report = opinion_report(opinions(*rows))
        for attribute, name in (("reason", "absences"), ("sex", "f")):
            found = group(report, attribute, name)
            assert (found.n_opinions, found.dismissed) == (40 + few, None)
        assert group(report, "sex", "m").dismissed is None, "it would be all less the others"


@pytest.mark.parametrize(("left", "told"), [(9, False), (10, True), (30, True), (31, False)])
def test_the_share_that_left_is_not_told_where_few_left_or_few_stayed(left: int, told: bool) -> None:
    both: list[Row] = [
        (verdict, (), end, "f") for verdict in ("wrong", "useful") for end in [1] * left + [0] * (40 - left)
    ]
    assert [(one.n_opinions, one.left) for one in opinion_report(opinions(*both)).later_left] == [
        (40, left / 40 if told else None)
    ] * 2


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
