"""Groups for the fairness audit: who is in which, from attributes that no model reads.

Legend: B rows, C students, G groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.evaluation.fairness import NOT_RECORDED, PAIR
from edupulse_ml.evaluation.suppression import groups_to_tell

Bool = NDArray[np.bool_]

CROSSED: Final = (("race_ethnicity", "sex"),)
"""Pairs of attributes that are also judged together."""
MAX_GROUPS: Final = 40


@dataclass(frozen=True)
class AuditFamily:
    """Groups whose figures could be set against each other: those of one attribute, or of two and of both at once."""

    attribute: tuple[str, ...]
    """[G]"""
    group: tuple[str, ...]
    """[G]"""
    members: Bool
    """[G, B]"""

    def to_tell(self, student: NDArray[np.integer], described_B: Bool) -> Bool:
        """[G] groups that may be told of when figures describe the students of the rows `described_B`.

        `student` [B] counts from 0 without gaps.
        """
        shape = (len(self.group), int(student.max(initial=-1)) + 1)
        member_GC, counted_C = np.zeros(shape, dtype=np.bool_), np.zeros(shape[1], dtype=np.bool_)
        for group, member_B in enumerate(self.members):
            member_GC[group, student[member_B]] = True
        counted_C[student[described_B]] = True
        return groups_to_tell(member_GC, counted_C)


def audit_families(values: Mapping[str, Sequence[str | None]]) -> tuple[AuditFamily, ...]:
    """Families of groups from each row's values by attribute; None is a group of its own, called "not recorded".

    Attributes without any value are left out.

    Raises:
        InvalidInputError: an attribute has more than `MAX_GROUPS` values, so that it cannot name groups.
    """
    coded = {name: _groups(name, column) for name, column in values.items() if any(v is not None for v in column)}
    crossed = [pair for pair in CROSSED if all(name in coded for name in pair)]
    alone = [name for name in coded if not any(name in pair for pair in crossed)]
    return (
        *(_family([(first, coded[first]), (second, coded[second]), _cross(first, second, coded)])
          for first, second in crossed),
        *(_family([(name, coded[name])]) for name in alone),
    )  # fmt: skip


def _groups(name: str, column: Sequence[str | None]) -> dict[str, Bool]:
    cells = np.asarray([NOT_RECORDED if value is None else value for value in column], dtype=np.str_)
    found = np.unique(cells)
    if len(found) > MAX_GROUPS:
        msg = (
            f"The attribute {name} has {len(found)} different values, more than {MAX_GROUPS}: import codes of groups, "
            "not free text, to have it audited."
        )
        raise InvalidInputError(msg)
    return {str(value): cells == value for value in found}


def _cross(first: str, second: str, coded: Mapping[str, Mapping[str, Bool]]) -> tuple[str, dict[str, Bool]]:
    both = {
        f"{a}{PAIR}{b}": in_a & in_b
        for a, in_a in coded[first].items()
        for b, in_b in coded[second].items()
        if NOT_RECORDED not in (a, b)
    }
    return f"{first}{PAIR}{second}", {name: members for name, members in both.items() if members.any()}


def _family(attributes: Sequence[tuple[str, Mapping[str, Bool]]]) -> AuditFamily:
    entries = [(attribute, group, members) for attribute, groups in attributes for group, members in groups.items()]
    return AuditFamily(
        attribute=tuple(attribute for attribute, _, _ in entries),
        group=tuple(group for _, group, _ in entries),
        members=np.stack([members for _, _, members in entries]),
    )
