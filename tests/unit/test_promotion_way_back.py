"""The way back from a champion: what stood before it, without what was withdrawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from edupulse_ml.storage.promotions import PromotionKind
from jobs.promotion.way_back import way_back


@dataclass(frozen=True)
class Moved:
    """One move of the champion."""

    kind: PromotionKind
    from_version: str | None
    to_version: str


def moves(*told: str) -> list[Moved]:
    """`1>2` promotes 2 over 1, `>1` promotes the first, `2<1` withdraws 2 in favour of 1, `1!2` overrides."""
    kinds: dict[str, PromotionKind] = {">": "promotion", "<": "rollback", "!": "override"}
    found = []
    for move in told:
        (sign,) = set(move) & set(kinds)
        before, after = move.split(sign)
        found.append(Moved(kinds[sign], before or None, after))
    return found


@pytest.mark.parametrize(
    ("told", "champion", "back"),
    [
        ([], "1", []),
        ([">1"], "1", []),
        ([">1", "1>2", "2!3"], "3", ["2", "1"]),
        ([">1", "1>2", "2!3", "3<2"], "2", ["1"]),
        ([">1", "1>2", "2!3", "3<2", "2<1"], "1", []),
        # The same version twice, withdrawn: its first time is no way back either.
        ([">1", "1>2", "2>1"], "1", ["2"]),
        ([">1", "1>2", "2>1", "1<2"], "2", []),
        (["0>1", "1>2", "2>1", "1<2"], "2", ["0"]),
        # Withdrawn, judged anew and promoted: a champion like any other.
        ([">1", "1>2", "2<1", "1>2", "2>3"], "3", ["2", "1"]),
        ([">1", "1>2", "2<1", "1>3"], "3", ["1"]),
        # The note of 2<1 was lost: 3 was promoted over 1 all the same.
        ([">1", "1>2", "1>3"], "3", ["1"]),
        # The note of the second 1>2 was lost: 2 was the champion again, since 3 replaced it.
        ([">1", "1>2", "2<1", "2>3"], "3", ["2", "1"]),
        # The note of the last move was lost, to either side of it.
        ([">1", "1>2"], "3", ["2", "1"]),
        ([">1", "1>2"], "1", []),
        # The champion was older than the moves that are kept.
        (["7>8"], "8", ["7"]),
    ],
)
def test_the_way_back_leads_over_what_stood_before(told: Sequence[str], champion: str, back: Sequence[str]) -> None:
    assert list(way_back(moves(*told), champion=champion)) == list(back)


@pytest.mark.parametrize(
    ("previous", "back"),
    [
        ("5", ["5", "1"]),  # moved by hand
        ("1", ["1"]),
        ("2", ["1"]),  # the champion itself: killed between two moves of aliases
        ("3", ["1"]),  # withdrawn
        (None, ["1"]),
    ],
)
def test_what_the_registry_calls_previous_comes_first_unless_it_is_no_way_back(
    previous: str | None, back: Sequence[str]
) -> None:
    told = moves(">1", "1>2", "2>3", "3<2")
    assert list(way_back(told, champion="2", previous=previous)) == list(back)
