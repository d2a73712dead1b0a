"""Outcomes that people reported, beside those that the registry's exits tell (docs/decisions/0011).

A recorded exit that names its cause wins over anybody's word, and so does a later enrolment. People are heard where the
registry is silent: about students who are still enrolled in it, and about exits that say only that an enrolment ended.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.feedback import OUTCOME_WORDS, OutcomeWord, ReportedOutcomes
from edupulse_ml.core.outcomes import Outcomes
from edupulse_ml.core.records import ExitEvents
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.evaluation.outcomes import named_exits, outcomes_from_exits

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

_CODE: Final[dict[OutcomeWord, int]] = {word: code for code, word in enumerate(OUTCOME_WORDS)}


@dataclass(frozen=True)
class MergedOutcomes:
    """Outcomes with what people reported, of how many students a report counted, and of how many the registry knew
    better.
    """

    outcomes: Outcomes
    n_used: int
    n_overruled: int


def merged_outcomes(
    exits: ExitEvents, reported: ReportedOutcomes, *, as_of_day: int, n_students: int
) -> MergedOutcomes:
    """What became of students 0..n_students-1, as known on `as_of_day`: the outcomes that scores are learned from and
    judged by.
    """
    # A graduate cannot leave without a diploma any more: that is an answer, not an unknown.
    registry = outcomes_from_exits(exits, as_of_day=as_of_day, n_students=n_students, completers_never_leave=True)
    return with_reported(registry, reported, exits, as_of_day=as_of_day)


def with_reported(
    registry: Outcomes, reported: ReportedOutcomes, exits: ExitEvents, *, as_of_day: int
) -> MergedOutcomes:
    """The registry's outcomes, completed by what was reported by `as_of_day`; of several reports about a student, the one
    about the latest day counts.

    - `left`: the event, on the day given; a last day attended that the registry gives stands, and so does an earlier one
      that it concludes.
    - `stayed`: no event up to the day given; one that was only concluded from a missing enrolment is taken back.
    - `transferred`: censored from the day given on.
    - `graduated`: known to stay for ever.

    `registry` must be as known on `as_of_day` too. Its `as_of_day` stays: no question is answered for those only of
    whom somebody spoke.
    """
    latest = _latest(reported, as_of_day=as_of_day)
    if not len(latest.student):
        return MergedOutcomes(registry, 0, 0)
    known = named_exits(exits, as_of_day=as_of_day, n_students=len(registry.event_day))
    came_back = (known.last_entry_day[latest.student] > latest.day) & (latest.outcome != _CODE["stayed"])
    overruled = known.is_named[latest.student] | came_back
    event_day, followed = registry.event_day.copy(), registry.followed_until.copy()
    for word, apply in _RULES.items():
        chosen = (latest.outcome == _CODE[word]) & ~overruled
        at = latest.student[chosen]
        said = _Registry(event_day[at], followed[at], known.gives_last_day[at])
        event_day[at], followed[at] = apply(said, latest.day[chosen])
    return MergedOutcomes(
        Outcomes(event_day, followed, registry.as_of_day), int((~overruled).sum()), int(overruled.sum())
    )


@dataclass(frozen=True)
class _Registry:
    """The registry's outcomes of the students of one rule; `gives_last_day` as in `NamedExits`."""

    event_day: Int32
    followed: Int32
    gives_last_day: Bool


def _left(registry: _Registry, day: Int32) -> tuple[Int32, Int32]:
    # An exit that only closes the roll says when the year ended, months after the student was last seen: those weeks of
    # absence must not become examples (sources.md 2.5.2).
    is_open = (registry.event_day == NEVER) | ~registry.gives_last_day
    event_day = np.where(is_open, np.minimum(registry.event_day, day), registry.event_day).astype(np.int32)
    return event_day, event_day


def _stayed(registry: _Registry, day: Int32) -> tuple[Int32, Int32]:
    event_day, followed = registry.event_day, registry.followed
    still_left = (event_day != NEVER) & (event_day >= day)
    longer = np.maximum(np.where(event_day == NEVER, followed, day), day).astype(np.int32)
    return (
        np.where(still_left, event_day, NEVER).astype(np.int32),
        np.where(still_left, followed, longer).astype(np.int32),
    )


def _transferred(registry: _Registry, day: Int32) -> tuple[Int32, Int32]:
    until = np.where(registry.event_day == NEVER, np.minimum(registry.followed, day), day)
    return np.full_like(day, NEVER), until.astype(np.int32)


def _graduated(registry: _Registry, day: Int32) -> tuple[Int32, Int32]:
    del registry
    return np.full_like(day, NEVER), np.full_like(day, NEVER)


_Rule: TypeAlias = Callable[[_Registry, Int32], tuple[Int32, Int32]]
"""From what the registry says and the day reported to the days of the event and of the end of follow-up."""
_RULES: Final[Mapping[OutcomeWord, _Rule]] = {
    "left": _left,
    "stayed": _stayed,
    "transferred": _transferred,
    "graduated": _graduated,
}


@dataclass(frozen=True)
class _Latest:
    student: Int32
    outcome: NDArray[np.int8]
    day: Int32


def _latest(reported: ReportedOutcomes, *, as_of_day: int) -> _Latest:
    """One report per student, of those known that speak of no later day."""
    known = (reported.known_day <= as_of_day) & (as_of_day < reported.superseded_day) & (reported.day <= as_of_day)
    at = np.flatnonzero(known)
    # Ties are broken by when it was known, then by the word, so that the order of rows plays no part.
    order = at[np.lexsort((reported.outcome[at], reported.known_day[at], reported.day[at], reported.student[at]))]
    student = reported.student[order]
    last = np.r_[student[1:] != student[:-1], True] if len(order) else np.zeros(0, np.bool_)
    chosen = order[last]
    return _Latest(reported.student[chosen], reported.outcome[chosen], reported.day[chosen])
