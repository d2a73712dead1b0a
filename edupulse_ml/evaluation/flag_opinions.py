"""What counselors think of the flags: agreement by reason and by group, and whether those they dismissed left.

Science.md 4.2, human override. An opinion is never a label: it says what somebody thought, not what happened.
Legend: B opinions, C students, G groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.feedback import DISMISSALS, FLAG_WORDS, FlagWord
from edupulse_ml.core.outcomes import LABEL_UNKNOWN
from edupulse_ml.evaluation.audit_groups import audit_families
from edupulse_ml.evaluation.figures import MIN_STUDENTS
from edupulse_ml.evaluation.suppression import groups_to_tell

Bool = NDArray[np.bool_]

REASON: Final = "reason"
"""Name of the attribute under which reasons are reported."""
DISMISSED, AGREED = "dismissed", "agreed"


@dataclass(frozen=True)
class Opinions:
    """B opinions on flags. `student` counts from 0 without gaps; `reasons` are the concepts shown with each flag; `left`
    [B] is 1 where the student left within the horizon after the flag's week, 0 where not, `LABEL_UNKNOWN` where it is
    not known yet.
    """

    student: NDArray[np.int32]
    verdict: Sequence[FlagWord]
    reasons: Sequence[Sequence[str]]
    left: NDArray[np.int8]
    groups: Mapping[str, Sequence[str | None]]
    """Each opinion's student's value of every audit attribute, None where there is none."""


@dataclass(frozen=True)
class GroupOpinions:
    """Opinions on the flags of a reason, or of a group of students. Both None where fewer than ten students stand behind
    them, or where others' figures would tell of fewer than ten; the share also where it would tell of fewer than ten
    students whose flags were dismissed, or were not.
    """

    attribute: str
    group: str
    n_opinions: int | None
    dismissed: float | None
    """Share (0-1) of the opinions that say `not_useful` or `wrong`."""


@dataclass(frozen=True)
class LaterLeft:
    """Of the flags dismissed, or agreed to, whose end is known: the share (0-1) of students who left. None as above, for
    those who left and those who stayed.
    """

    answer: str
    n_opinions: int | None
    left: float | None


@dataclass(frozen=True)
class OpinionReport:
    """`verdicts`: opinions per word, None where fewer than ten students stand behind it. `later_left` is the check for
    automation bias turned round: were those whom people sent away the ones who left?
    """

    n_opinions: int | None
    verdicts: Mapping[str, int | None]
    by_group: tuple[GroupOpinions, ...]
    later_left: tuple[LaterLeft, ...]


def opinion_report(opinions: Opinions) -> OpinionReport:
    """Counts and shares, told where suppression lets them be told."""
    verdict = np.asarray(opinions.verdict, dtype=np.str_)
    dismissed = np.isin(verdict, DISMISSALS)
    words = np.stack([verdict == word for word in FLAG_WORDS])
    told = _to_tell(words, opinions.student)
    enough = len(np.unique(opinions.student)) >= MIN_STUDENTS
    return OpinionReport(
        n_opinions=len(verdict) if enough else None,
        verdicts={
            word: int(said.sum()) if tell else None for word, said, tell in zip(FLAG_WORDS, words, told, strict=True)
        },
        by_group=(*_by_reason(opinions, dismissed), *_by_audit_group(opinions, dismissed)),
        later_left=_later_left(opinions, dismissed),
    )


def _by_reason(opinions: Opinions, dismissed: Bool) -> list[GroupOpinions]:
    concepts = sorted({concept for shown in opinions.reasons for concept in shown})
    if not concepts:
        return []
    members = np.stack([[concept in shown for shown in opinions.reasons] for concept in concepts])
    told = _to_tell(members, opinions.student)
    shares = told & _both_to_tell(members, opinions.student, dismissed)
    return [
        _group(REASON, concept, rows, dismissed, told=bool(tell), share_told=bool(share))
        for concept, rows, tell, share in zip(concepts, members, told, shares, strict=True)
    ]


def _by_audit_group(opinions: Opinions, dismissed: Bool) -> list[GroupOpinions]:
    everybody = np.ones(len(dismissed), dtype=np.bool_)
    found: list[GroupOpinions] = []
    for family in audit_families(opinions.groups):
        told, said, unsaid = (family.to_tell(opinions.student, rows) for rows in (everybody, dismissed, ~dismissed))
        found += [
            _group(attribute, group, rows, dismissed, told=bool(tell), share_told=bool(share))
            for attribute, group, rows, tell, share in zip(
                family.attribute, family.group, family.members, told, told & said & unsaid, strict=True
            )
        ]
    return found


def _group(attribute: str, group: str, rows: Bool, dismissed: Bool, *, told: bool, share_told: bool) -> GroupOpinions:
    return GroupOpinions(
        attribute, group, int(rows.sum()) if told else None, float(dismissed[rows].mean()) if share_told else None
    )


def _later_left(opinions: Opinions, dismissed: Bool) -> tuple[LaterLeft, ...]:
    known = opinions.left != LABEL_UNKNOWN
    left, student = opinions.left[known], opinions.student[known]
    answers = np.stack([dismissed[known], ~dismissed[known]])
    told = _to_tell(answers, student)
    shares = told & _both_to_tell(answers, student, left == 1)
    return tuple(
        LaterLeft(name, int(rows.sum()) if tell else None, float(left[rows].mean()) if share else None)
        for name, rows, tell, share in zip((DISMISSED, AGREED), answers, told, shares, strict=True)
    )


def _both_to_tell(member_GB: Bool, student_B: NDArray[np.int32], described_B: Bool) -> Bool:
    """[G] whether a share may be told: of neither the opinions it counts nor the others would it tell too few students."""
    counted, others = (_to_tell(member_GB[:, rows], student_B[rows]) for rows in (described_B, ~described_B))
    return counted & others


def _to_tell(member_GB: Bool, student_B: NDArray[np.int32]) -> Bool:
    """[G] whether the figures of each set of opinions may be told beside those of all of them."""
    student = np.unique(student_B, return_inverse=True)[1]
    member_GC = np.zeros((len(member_GB), int(student.max(initial=-1)) + 1), dtype=np.bool_)
    for group, rows in enumerate(member_GB):
        member_GC[group, student[rows]] = True
    return groups_to_tell(member_GC, np.ones(member_GC.shape[1], dtype=np.bool_))
