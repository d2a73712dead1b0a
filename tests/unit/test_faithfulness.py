"""The tests of the reasons, on a model whose attributions are known: a sum of weighted cells."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from edupulse_ml.evaluation.faithfulness import (
    ExplainedRows,
    FaithfulnessOptions,
    OtherAttributions,
    measure_faithfulness,
)

B, T, F = 40, 10, 6
CONCEPTS = tuple(np.arange(2 * c, 2 * c + 2) for c in range(3))


@dataclass(frozen=True)
class Shown:
    student: int
    concept: int
    effect: float


def linear(seed: int = 0, *, steepness: float = 0.0) -> ExplainedRows:
    """logit = sum of weight * z; `steepness` makes late weeks count more. Exact attributions are weight * z."""
    rng = np.random.default_rng(seed)
    length = rng.integers(4, T + 1, B)
    z = (rng.normal(size=(B, T, F)) * (np.arange(T)[None, :] < length[:, None])[:, :, None]).astype(np.float32)
    weight = (rng.normal(size=F)[None, :] * np.exp(steepness * np.arange(T))[:, None]).astype(np.float32)
    keep = (z * weight).sum(axis=(1, 2)) > 0
    z, length = z[keep], length[keep]
    attribution = z * weight
    effects = np.stack([attribution[:, :, c].sum(axis=(1, 2)) for c in CONCEPTS], axis=1)
    shown = [Shown(b, int(effects[b].argmax()), float(effects[b].max())) for b in range(len(z))]

    def logit(rows: np.ndarray, student: np.ndarray) -> np.ndarray:
        assert len(rows) == len(student)
        return (rows * weight).sum(axis=(1, 2))

    return ExplainedRows(z, length, attribution, logit, shown, CONCEPTS)


def slow_fall(rows: ExplainedRows, choose) -> float:
    """Mean fall of the logit when `choose(student, places)` names the weeks to delete."""
    falls = []
    for b in range(len(rows.z)):
        z = rows.z[[b]].copy()
        for week in choose(b, int(np.ceil(0.2 * rows.length[b]))):
            z[0, week] = 0
        falls.append(rows.logit(rows.z[[b]], np.array([b]))[0] - rows.logit(z, np.array([b]))[0])
    return float(np.mean(falls))


def test_deletion_and_recency_are_those_of_a_slow_loop() -> None:
    rows = linear()
    highest = slow_fall(rows, lambda b, n: np.argsort(-rows.attribution[b, : rows.length[b]].sum(axis=1))[:n])
    latest = slow_fall(rows, lambda b, n: range(rows.length[b] - n, rows.length[b]))
    measured = measure_faithfulness(rows, OtherAttributions())
    assert measured.recency_gain.value == pytest.approx(highest / latest, rel=1e-5)
    # A random week of a linear model takes its share of the whole with it.
    chance = np.mean(
        [np.ceil(0.2 * n) / n * rows.logit(rows.z[[b]], np.array([b]))[0] for b, n in enumerate(rows.length)]
    )
    many = measure_faithfulness(rows, OtherAttributions(), options=FaithfulnessOptions(random_draws=400))
    assert many.deletion_gain.value == pytest.approx(highest / chance, rel=0.1)


def test_what_recency_leaves_attainable_is_measured_by_occlusion() -> None:
    rows = linear()  # of a sum, occlusion is the attribution
    measured = measure_faithfulness(rows, OtherAttributions())
    assert measured.recency_attainable.value == pytest.approx(measured.recency_gain.value, rel=1e-5)
    swapped = measure_faithfulness(replace(rows, attribution=np.roll(rows.attribution, 1, axis=0)), OtherAttributions())
    assert swapped.recency_attainable.value == pytest.approx(measured.recency_attainable.value)
    assert swapped.recency_gain.value < measured.recency_gain.value


def test_exact_attributions_are_complete_and_point_the_right_way() -> None:
    measured = measure_faithfulness(linear(), OtherAttributions())
    assert measured.completeness.value == pytest.approx(0.0, abs=1e-4)
    assert measured.polarity.value == 1.0
    assert measured.n_reasons == measured.n_students
    assert measured.curves is not None
    assert measured.curves.preservation < measured.curves.chance < measured.curves.difference


def test_attributions_of_other_students_fail() -> None:
    rows = linear()
    swapped = measure_faithfulness(replace(rows, attribution=np.roll(rows.attribution, 1, axis=0)), OtherAttributions())
    honest = measure_faithfulness(rows, OtherAttributions())
    assert swapped.completeness.value > 0.5
    assert swapped.deletion_gain.value < 0.6 * honest.deletion_gain.value


def test_reasons_that_point_the_wrong_way_are_counted() -> None:
    rows = linear()
    wrong = [replace(reason, effect=-reason.effect) for reason in rows.shown[:10]]
    measured = measure_faithfulness(replace(rows, shown=[*wrong, *rows.shown[10:]]), OtherAttributions())
    assert measured.polarity.value == pytest.approx(1 - 10 / len(rows.shown))


def test_a_reason_whose_removal_moves_nothing_is_a_wrong_one() -> None:
    rows = linear()
    flat = replace(rows, logit=lambda z, student: np.zeros(len(z)))
    assert measure_faithfulness(flat, OtherAttributions()).polarity.value == 0.0


def test_likeness_to_random_weights_is_a_rank_correlation() -> None:
    rows = linear()
    same = measure_faithfulness(rows, OtherAttributions(randomised=rows.attribution))
    opposite = measure_faithfulness(rows, OtherAttributions(randomised=-rows.attribution))
    unlike = np.random.default_rng(1).normal(size=rows.attribution.shape).astype(np.float32)
    assert same.sanity.value == pytest.approx(1.0)
    assert opposite.sanity.value == pytest.approx(-1.0)
    assert abs(measure_faithfulness(rows, OtherAttributions(randomised=unlike)).sanity.value) < 0.1


def test_overlap_counts_shared_concepts() -> None:
    rows = replace(linear(), concepts=tuple(np.array([f]) for f in range(F)))
    assert measure_faithfulness(rows, OtherAttributions(noisy=[rows.attribution])).noise_overlap.value == 1.0
    reversed_ = measure_faithfulness(rows, OtherAttributions(seeds=[rows.attribution, -rows.attribution]))
    assert reversed_.seed_overlap.value == 0.0  # the top three of six become the bottom three


def test_what_does_not_exist_says_why() -> None:
    measured = measure_faithfulness(replace(linear(), shown=[], by_week=False), OtherAttributions())
    for figure in (measured.sanity, measured.seed_overlap, measured.noise_overlap, measured.recency_gain):
        assert figure.value is None
        assert figure.reason
    assert measured.polarity.reason == "no reason was shown"
    assert measured.deletion_gain.value > 1  # whole features are deleted instead of weeks


def test_nobody_to_explain() -> None:
    rows = linear()
    nobody = ExplainedRows(rows.z[:0], rows.length[:0], rows.attribution[:0], rows.logit, [], CONCEPTS)
    assert measure_faithfulness(nobody, OtherAttributions()).deletion_gain.reason == "no student to test on"


def test_padding_is_never_deleted_nor_counted() -> None:
    rows = linear(3)
    padded = replace(
        rows,
        z=np.concatenate([rows.z, np.zeros((len(rows.z), 5, F), np.float32)], axis=1),
        attribution=np.concatenate([rows.attribution, np.zeros((len(rows.z), 5, F), np.float32)], axis=1),
        logit=lambda z, student: rows.logit(z[:, :T], student),
    )
    measured, longer = (measure_faithfulness(each, OtherAttributions()) for each in (rows, padded))
    assert longer.recency_gain.value == pytest.approx(measured.recency_gain.value)
    assert longer.completeness.value == pytest.approx(measured.completeness.value)
