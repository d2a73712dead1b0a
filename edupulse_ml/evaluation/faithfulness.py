"""Do the reasons tell what moves the score? Seven tests on students with high scores (sources.md 5.3).

Pure functions on arrays: attributions of a model, its logit for changed inputs, and what was shown.

Legend: B students, T steps, F features, C concepts, U units (weeks), R rows. A z-score of 0 is the typical student, so
deleting a cell is setting it to 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.evaluation.figures import Figure

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Logit = Callable[[Float32, NDArray[np.int64]], NDArray[np.floating]]
"""(z [R, T, F], student [R]) -> logit of the risk score [R]; `student` says whose other inputs a row has."""

_TOP_CONCEPTS: Final = 3
_FLAT: Final = 1e-6
_NO_NOISE: Final = "no noisy inputs were given"
_ONE_SEED: Final = "one seed only: there is nothing to compare with"
_NO_TWIN: Final = "the model has no weights that could be drawn at random"
_NO_WEEKS: Final = "the model's reasons are not told by week"
_FLAT_LATEST: Final = "deleting the last weeks does not lower the scores: no ratio exists"
_FLAT_RANDOM: Final = "deleting at random does not lower the scores: no ratio exists"


class ShownReason(Protocol):
    """A reason as it was shown: of which student of the batch, which concept, and its claimed effect in logits."""

    @property
    def student(self) -> int: ...
    @property
    def concept(self) -> int: ...
    @property
    def effect(self) -> float: ...


@dataclass(frozen=True)
class ExplainedRows:
    """The explained students, and what their explanations claim."""

    z: Float32
    """[B, T, F]"""
    length: NDArray[np.integer]
    """[B] real steps; at least one."""
    attribution: Float32
    """[B, T, F] in logits against the typical student; 0 at padding."""
    logit: Logit
    shown: Sequence[ShownReason]
    concepts: Sequence[NDArray[np.integer]]
    """[C] positions of each concept's features."""
    by_week: bool = True
    """Whether attributions belong to weeks; else whole features are deleted where weeks would be."""


@dataclass(frozen=True)
class OtherAttributions:
    """Attributions [B, T, F] of the same students: by a twin with random weights (None: there is none), by networks that
    differ in nothing but their seed, and by the model itself under input noise.
    """

    randomised: Float32 | None = None
    seeds: Sequence[Float32] = ()
    noisy: Sequence[Float32] = ()


@dataclass(frozen=True)
class FaithfulnessOptions:
    """`deleted_share` of each student's weeks are deleted; `random_draws` orders stand for chance."""

    deleted_share: float = 0.2
    random_draws: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Curves:
    """Cumulative prediction difference (largest attributions deleted first) and preservation (smallest first): mean
    area in logits, and that of random orders. A faithful order has a large difference and a small preservation.
    """

    difference: float
    preservation: float
    chance: float


@dataclass(frozen=True)
class Faithfulness:
    """The figures F1 to F7; a figure without value says why."""

    n_students: int
    n_reasons: int
    deletion_gain: Figure = field(default=Figure(None))
    """F1: fall of the logit without the highest fifth of the weeks, in falls without a random fifth."""
    recency_gain: Figure = field(default=Figure(None))
    """F2: the same, in falls without the last fifth."""
    recency_attainable: Figure = field(default=Figure(None))
    """What F2 would be of an order by occlusion, one week at a time: where the score hangs on the last weeks anyway, no
    order can beat recency by much."""
    polarity: Figure = field(default=Figure(None))
    """F3: share of shown reasons whose removal moves the logit as claimed."""
    completeness: Figure = field(default=Figure(None))
    """F4: 95th percentile of what the attributions miss of the logit's difference to the typical student's."""
    sanity: Figure = field(default=Figure(None))
    """F5: mean rank correlation with the attributions of random weights."""
    seed_overlap: Figure = field(default=Figure(None))
    """F6: mean overlap (Jaccard) of the top three concepts of two seeds."""
    noise_overlap: Figure = field(default=Figure(None))
    """F6: the same, of the model with and without input noise."""
    curves: Curves | None = None
    """F7"""


def measure_faithfulness(
    rows: ExplainedRows, others: OtherAttributions, *, options: FaithfulnessOptions = FaithfulnessOptions()
) -> Faithfulness:
    """All seven figures; no student is named by them. Nothing is measured on no student."""
    n_students = len(rows.z)
    if not n_students:
        none = Figure(None, reason="no student to test on")
        return Faithfulness(0, 0, none, none, none, none, none, none, none, none)
    units = _units(rows)
    whole = rows.logit(rows.z, np.arange(n_students))
    rng = np.random.default_rng(options.seed)
    orders = [units.random_order(rng) for _ in range(options.random_draws)]
    share = options.deleted_share
    highest = _mean_fall(rows, units, whole, units.order(units.attribution), share)
    by_chance = float(np.mean([_mean_fall(rows, units, whole, order, share) for order in orders]))
    recency, attainable = _against_recency(rows, units, whole, highest, share)
    return Faithfulness(
        n_students=n_students,
        n_reasons=len(rows.shown),
        deletion_gain=_ratio(highest, by_chance, _FLAT_RANDOM),
        recency_gain=recency,
        recency_attainable=attainable,
        polarity=_polarity(rows, whole),
        completeness=Figure(_completeness(rows, whole)),
        sanity=_sanity(rows, others.randomised),
        seed_overlap=_overlap(list(combinations(others.seeds, 2)), rows.concepts, _ONE_SEED),
        noise_overlap=_overlap([(rows.attribution, noisy) for noisy in others.noisy], rows.concepts, _NO_NOISE),
        curves=_curves(rows, units, whole, orders),
    )


@dataclass(frozen=True)
class _Units:
    """What is deleted as a whole: weeks, or features. [B, U]"""

    attribution: NDArray[np.float64]
    real: Bool
    axis: int

    @property
    def position(self) -> NDArray[np.float64]:
        return np.broadcast_to(np.arange(self.real.shape[1], dtype=np.float64), self.real.shape)

    def order(self, value: NDArray[np.floating]) -> NDArray[np.int64]:
        """[B, U] rank of each unit by falling value, 0 first; units that are not real come last."""
        sorted_units = np.argsort(np.where(self.real, -value, np.inf), axis=1, kind="stable")
        ranks = np.empty_like(sorted_units)
        np.put_along_axis(ranks, sorted_units, np.arange(sorted_units.shape[1])[None, :], axis=1)
        return ranks

    def random_order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        return self.order(rng.random(self.real.shape))

    def without(self, z: Float32, gone: Bool) -> Float32:
        """`z` with the units `gone` [B, U] set to the typical student's."""
        return np.where(np.expand_dims(gone, 3 - self.axis), np.float32(0.0), z)


def _units(rows: ExplainedRows) -> _Units:
    if rows.by_week:
        real = np.arange(rows.z.shape[1])[None, :] < rows.length[:, None]
        return _Units(rows.attribution.sum(axis=2, dtype=np.float64), real, axis=1)
    real = np.ones((len(rows.z), rows.z.shape[2]), dtype=np.bool_)
    return _Units(rows.attribution.sum(axis=1, dtype=np.float64), real, axis=2)


def _mean_fall(
    rows: ExplainedRows, units: _Units, whole: NDArray[np.floating], rank: NDArray[np.int64], share: float
) -> float:
    """Mean fall of the logit without the first `share` of each student's units, at least one."""
    places = np.maximum(1, np.ceil(share * units.real.sum(axis=1) - 1e-9))[:, None]
    gone = (rank < places) & units.real
    return float(np.mean(whole - rows.logit(units.without(rows.z, gone), np.arange(len(rows.z)))))


def _against_recency(
    rows: ExplainedRows, units: _Units, whole: NDArray[np.floating], highest: float, share: float
) -> tuple[Figure, Figure]:
    """The gain over recency of the attributions, and of an order by occlusion."""
    if not rows.by_week:
        return Figure(None, reason=_NO_WEEKS), Figure(None, reason=_NO_WEEKS)
    latest = _mean_fall(rows, units, whole, units.order(units.position), share)
    everyone = np.arange(len(rows.z))
    occlusion = np.zeros(units.real.shape)
    for week in range(units.real.shape[1]):
        alone = np.zeros_like(units.real)
        alone[:, week] = units.real[:, week]
        occlusion[:, week] = whole - rows.logit(units.without(rows.z, alone), everyone)
    occluded = _mean_fall(rows, units, whole, units.order(occlusion), share)
    return _ratio(highest, latest, _FLAT_LATEST), _ratio(occluded, latest, _FLAT_LATEST)


def _ratio(fall: float, other: float, reason: str) -> Figure:
    return Figure(fall / other) if other > _FLAT else Figure(None, reason=reason)


def _polarity(rows: ExplainedRows, whole: NDArray[np.floating]) -> Figure:
    if not rows.shown:
        return Figure(None, reason="no reason was shown")
    student = np.array([reason.student for reason in rows.shown])
    z = rows.z[student].copy()
    for row, reason in enumerate(rows.shown):
        z[row][:, rows.concepts[reason.concept]] = 0.0
    moved = whole[student] - rows.logit(z, student)
    claimed = np.array([reason.effect for reason in rows.shown])
    return Figure(float(np.mean(np.sign(moved) == np.sign(claimed))))


def _completeness(rows: ExplainedRows, whole: NDArray[np.floating]) -> float:
    typical = rows.logit(np.zeros_like(rows.z), np.arange(len(rows.z)))
    missed = rows.attribution.sum(axis=(1, 2), dtype=np.float64) - (whole - typical)
    return float(np.quantile(np.abs(missed), 0.95))


def _sanity(rows: ExplainedRows, randomised: Float32 | None) -> Figure:
    if randomised is None:
        return Figure(None, reason=_NO_TWIN)
    found: list[float] = []
    for mine, theirs, length in zip(rows.attribution, randomised, rows.length, strict=True):
        cells = (mine[:length] != 0) | (theirs[:length] != 0)
        first, second = _ranks(mine[:length][cells]), _ranks(theirs[:length][cells])
        if len(first) > 1 and np.ptp(first) > 0 and np.ptp(second) > 0:
            found.append(float(np.corrcoef(first, second)[0, 1]))
    return Figure(float(np.mean(found))) if found else Figure(None, reason="no student has an attribution")


def _ranks(values: Float32) -> NDArray[np.float64]:
    """Ranks from the smallest value; equal values share their mean rank."""
    _, position, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2.0)[position]


def _overlap(pairs: Sequence[tuple[Float32, Float32]], concepts: Sequence[NDArray[np.integer]], reason: str) -> Figure:
    if not pairs:
        return Figure(None, reason=reason)
    shared = [_jaccard(_top_concepts(first, concepts), _top_concepts(second, concepts)) for first, second in pairs]
    return Figure(float(np.mean(shared)))


def _top_concepts(attribution: Float32, concepts: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    """[B, 3] the concepts that raise the score most."""
    by_feature = attribution.sum(axis=1, dtype=np.float64)
    effects = np.stack([by_feature[:, positions].sum(axis=1) for positions in concepts], axis=1)
    return np.argsort(-effects, axis=1, kind="stable")[:, :_TOP_CONCEPTS]


def _jaccard(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    common = (first[:, :, None] == second[:, None, :]).any(axis=2).sum(axis=1)
    return float(np.mean(common / (first.shape[1] + second.shape[1] - common)))


def _curves(
    rows: ExplainedRows, units: _Units, whole: NDArray[np.floating], orders: Sequence[NDArray[np.int64]]
) -> Curves:
    size = np.abs(units.attribution)
    return Curves(
        difference=_area(rows, units, whole, units.order(size)),
        preservation=_area(rows, units, whole, units.order(-size)),
        chance=float(np.mean([_area(rows, units, whole, order) for order in orders[:2]])) if orders else float("nan"),
    )


def _area(rows: ExplainedRows, units: _Units, whole: NDArray[np.floating], rank: NDArray[np.int64]) -> float:
    """Mean over the number of deleted units of the way that the logit has gone by then, and over students."""
    everyone = np.arange(len(rows.z))
    before, way, area = whole, np.zeros(len(whole)), np.zeros(len(whole))
    n_units = units.real.shape[1]
    for places in range(1, n_units + 1):
        after = rows.logit(units.without(rows.z, (rank < places) & units.real), everyone)
        way = way + np.abs(after - before)
        area += way
        before = after
    return float(np.mean(area / n_units))
