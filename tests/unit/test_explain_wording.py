"""Sentences that counselors read."""

import math

import pytest

from edupulse_ml.core.contract import FEATURE_INDEX, FEATURE_NAMES, FEATURES
from edupulse_ml.explain.concepts import CONCEPTS
from edupulse_ml.explain.wording import DISCIPLINE_NOTE, PHRASES, Fact, sentence


def _fact(name: str, value: float, typical: float, denominator: float = math.nan) -> Fact:
    return Fact(FEATURES[FEATURE_INDEX[name]], value, typical, denominator)


def test_every_feature_is_in_one_concept_and_has_a_phrase() -> None:
    members = [name for concept in CONCEPTS for name in concept.features]
    assert sorted(members) == sorted(FEATURE_NAMES)
    assert set(PHRASES) == set(FEATURE_NAMES)
    for concept in CONCEPTS:
        assert {FEATURES[i].modality for i in concept.positions} == {concept.modality}


def test_phrases_agree_with_the_contract_on_what_is_worse() -> None:
    for column in FEATURES:
        if column.monotone:
            assert PHRASES[column.name].worse == column.monotone, column.name


@pytest.mark.parametrize(
    ("fact", "raises", "text"),
    [
        (
            _fact("absence_rate_4wk", 0.3, 0.05, 20),
            True,
            "Missed 6 of 20 days in the last 4 school weeks; typical for grade 9 at this time of year: 1 of 20 days.",
        ),
        (
            _fact("core_courses_failing_count", 1, 0.2),
            True,
            "Failing 1 core course; typical for grade 9 at this time of year: 0.2 core courses.",
        ),
        (
            _fact("gpa_current_term", 3.61, 2.9),
            False,
            "GPA this term: 3.6; typical for grade 9 at this time of year: 2.9.",
        ),
        (
            _fact("odr_count_ytd", 4, 1),
            True,
            "Office discipline referrals this school year: 4; typical for grade 9 at this time of year: 1. "
            + DISCIPLINE_NOTE,
        ),
        (
            _fact("absence_rate_change", 0.12, 0.0),
            True,
            (
                "Absence against the 8 weeks before: +12 percentage points; "
                "typical for grade 9 at this time of year: +0 percentage points."
            ),
        ),
    ],
)
def test_sentences(fact: Fact, *, raises: bool, text: str) -> None:
    assert sentence(fact, raises_risk=raises, grade_level=9) == text


@pytest.mark.parametrize(
    "fact",
    [
        _fact("absence_rate_4wk", math.nan, 0.05, 20),
        _fact("absence_rate_4wk", 0.3, math.nan, 20),
        _fact("absence_rate_4wk", 0.0, 0.05, 20),
        _fact("absence_rate_4wk", 0.051, 0.05, 20),
        _fact("gpa_current_term", 3.9, 2.9),
    ],
    ids=["value unknown", "typical unknown", "less than typical", "same when rounded", "good grades"],
)
def test_no_sentence_without_a_visible_difference_in_the_claimed_direction(fact: Fact) -> None:
    assert sentence(fact, raises_risk=True, grade_level=9) is None


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_no_phrase_ever_shows_nan(name: str) -> None:
    for value in (0.0, 0.04, 0.5, 1.0, 3.0):
        shown = PHRASES[name].show(value, math.nan)
        assert shown
        assert "nan" not in shown
