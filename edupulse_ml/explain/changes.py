"""What moved a score between two predictions of one student, as four parts that sum to the move.

Each part is the difference of two scores of windows that really could have been read, so nothing is estimated and
nothing is left over. Within a part, a concept's effect is what the score loses if only that concept had stayed as it
was: the same question that verifies a reason, asked of the change.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.sequences import SequenceBatch, concatenate_batches
from edupulse_ml.core.windows import encode_windows
from edupulse_ml.explain.change_windows import AFTER, BEFORE, REWRITTEN, WITH_NEW, WITHOUT_LEFT
from edupulse_ml.explain.concepts import CONCEPTS
from edupulse_ml.explain.wording import WeekFacts, changed_sentence

Part = Literal["new_records", "left_window", "corrected_records", "new_model"]
PARTS: Final[tuple[Part, ...]] = ("new_records", "left_window", "corrected_records", "new_model")

MAX_CONCEPTS: Final = 3
MIN_EFFECT: Final = 0.02
"""Logits, as for reasons: a smaller effect changes no score by more than half a percent of itself."""
_SMALLEST: Final = 1e-9

ScoreWindows = Callable[[SequenceBatch], NDArray[np.floating]]
"""Calibrated risk score [B] of windows [B]."""


@dataclass(frozen=True)
class ConceptChange:
    """A concept that moved the score within a part. `effect` in logits is what the score would lose had the concept alone
    stayed as it was; `text` compares then and now, None where no member feature shows the difference.
    """

    concept: str
    text: str | None
    effect: float


@dataclass(frozen=True)
class ChangePart:
    """One part of a move, in logits and as a difference of probabilities. `weeks` is how many instructional weeks came or
    left, 0 for the other parts. Concepts are those that pushed the part's way, the strongest first.
    """

    part: Part
    logit: float
    probability: float
    weeks: int = 0
    concepts: tuple[ConceptChange, ...] = ()


@dataclass(frozen=True)
class ScoreChange:
    """The two scores as computed again, and the four parts, in the order of `PARTS`. The parts sum to the difference of the
    scores, as probabilities and in logits.
    """

    risk_before: float
    risk_after: float
    parts: tuple[ChangePart, ...]


def explain_change(
    windows: SequenceBatch, *, score: ScoreWindows, new_model: ScoreWindows | None, new_window: SequenceBatch
) -> ScoreChange:
    """The parts of a move.

    Args:
        windows: The five windows of `change_windows`.
        score: The model of the earlier prediction.
        new_model: That of the later one, None where it is the same.
        new_window: What `new_model` read: one window under its own contract.
    """
    swaps = [*_carried(windows), *_restored(windows)]
    asked = concatenate_batches([windows, *(swap.window for swap in swaps)])
    risk = _score_once(score, asked)
    after = float(risk[AFTER] if new_model is None else new_model(new_window)[0])
    steps = [float(value) for value in risk[: AFTER + 1]]
    moves = {
        "corrected_records": [(steps[BEFORE], steps[REWRITTEN]), (steps[WITH_NEW], steps[AFTER])],
        "left_window": [(steps[REWRITTEN], steps[WITHOUT_LEFT])],
        "new_records": [(steps[WITHOUT_LEFT], steps[WITH_NEW])],
        "new_model": [(steps[AFTER], after)],
    }
    without = risk[AFTER + 1 :].tolist()
    effects = [(swap, _logit(steps[swap.of]) - _logit(value)) for swap, value in zip(swaps, without, strict=True)]
    weeks = {"new_records": _weeks_new(windows), "left_window": _weeks_left(windows)}
    parts = tuple(_part(name, moves[name], weeks.get(name, 0), effects) for name in PARTS)
    return ScoreChange(steps[BEFORE], after, parts)


def _part(
    name: Part, moves: Sequence[tuple[float, float]], weeks: int, effects: Sequence[tuple["_Swap", float]]
) -> ChangePart:
    logit = sum(_logit(there) - _logit(here) for here, there in moves)
    own = [(swap, effect) for swap, effect in effects if swap.part == name]
    return ChangePart(
        part=name,
        logit=logit,
        probability=sum(there - here for here, there in moves),
        weeks=weeks,
        concepts=_concepts(own, sign=math.copysign(1.0, logit)),
    )


def _concepts(own: Sequence[tuple["_Swap", float]], *, sign: float) -> tuple[ConceptChange, ...]:
    total: dict[int, float] = {}
    last: dict[int, _Swap] = {}
    for swap, effect in own:
        total[swap.concept] = total.get(swap.concept, 0.0) + effect
        last[swap.concept] = swap
    strongest = sorted(total, key=lambda concept: -sign * total[concept])[:MAX_CONCEPTS]
    return tuple(
        ConceptChange(CONCEPTS[concept].name, last[concept].text(raises_risk=total[concept] > 0), total[concept])
        for concept in strongest
        if sign * total[concept] >= MIN_EFFECT
    )


@dataclass(frozen=True)
class _Swap:
    """The window of row `of` with one concept as it was before; `then` and `now` are the weeks that a sentence compares."""

    part: Part
    of: int
    concept: int
    window: SequenceBatch
    then: WeekFacts
    now: WeekFacts

    def text(self, *, raises_risk: bool) -> str | None:
        before = "at the prediction before" if self.part == "new_records" else "before the correction"
        positions = CONCEPTS[self.concept].positions.tolist()
        return changed_sentence(positions, then=self.then, now=self.now, before=before, raises_risk=raises_risk)


def _carried(windows: SequenceBatch) -> Iterator[_Swap]:
    """The window with the new weeks, per concept with the values of the last week before them carried on."""
    earlier, later = windows.select([WITHOUT_LEFT]), windows.select([WITH_NEW])
    last = int(earlier.length[0]) - 1
    is_new = later.week[0] > earlier.week[0, last]
    if not is_new.any():
        return
    then = WeekFacts(earlier.values[0, last], earlier.support[0, last])
    yield from _swaps("new_records", WITH_NEW, later, np.flatnonzero(is_new), earlier.values[0, last][None, :], then)


def _restored(windows: SequenceBatch) -> Iterator[_Swap]:
    """The corrected windows, per concept with the values from before the correction in the weeks that both have."""
    for row, source in ((REWRITTEN, BEFORE), (AFTER, WITH_NEW)):
        earlier, later = windows.select([source]), windows.select([row])
        _, theirs, ours = np.intersect1d(
            earlier.week[0, : earlier.length[0]], later.week[0, : later.length[0]], return_indices=True
        )
        if not len(ours):
            continue
        then = WeekFacts(earlier.values[0, theirs[-1]], earlier.support[0, theirs[-1]])
        yield from _swaps("corrected_records", row, later, ours, earlier.values[0, theirs], then)


def _swaps(
    part: Part, of: int, window: SequenceBatch, steps: NDArray[np.intp], values: NDArray[np.float32], then: WeekFacts
) -> Iterator[_Swap]:
    """One swap per concept whose values differ: `values` [steps or 1, F] in place of those at `steps`."""
    last = int(window.length[0]) - 1
    now = WeekFacts(window.values[0, last], window.support[0, last])
    for position, concept in enumerate(CONCEPTS):
        changed = window.values.copy()
        cells = np.ix_(np.zeros(1, dtype=np.intp), steps, concept.positions)
        changed[cells] = values[:, concept.positions][None]
        if not np.array_equal(changed, window.values, equal_nan=True):
            yield _Swap(part, of, position, replace(window, values=changed), then, now)


def _score_once(score: ScoreWindows, windows: SequenceBatch) -> NDArray[np.float64]:
    """Scores of the windows; equal windows are scored as one, so that what did not change moves nothing at all."""
    position: dict[bytes, int] = {}
    rows = [position.setdefault(encoded, len(position)) for encoded in encode_windows(windows)]
    first = [rows.index(row) for row in range(len(position))]
    return np.asarray(score(windows.select(first)), dtype=np.float64)[rows]


def _weeks_new(windows: SequenceBatch) -> int:
    last = windows.week[WITHOUT_LEFT, windows.length[WITHOUT_LEFT] - 1]
    return int((windows.week[WITH_NEW] > last).sum())


def _weeks_left(windows: SequenceBatch) -> int:
    return int(windows.length[REWRITTEN] - windows.length[WITHOUT_LEFT])


def _logit(probability: float) -> float:
    clipped = min(max(probability, _SMALLEST), 1.0 - _SMALLEST)
    return math.log(clipped) - math.log1p(-clipped)
