from dataclasses import replace

import pytest

from edupulse_ml.core.predictions import Coverage, Reason
from edupulse_ml.core.rescoring import differences
from tests.fakes.predictions import prediction

STORED = prediction(1)


def test_rounding_is_no_difference() -> None:
    again = replace(
        STORED,
        risk_score=STORED.risk_score + 9e-7,
        risk_60plus=STORED.risk_60plus - 9e-7,
        reasons=(replace(STORED.reasons[0], effect=STORED.reasons[0].effect + 9e-6),),
    )
    assert differences(STORED, again) == ()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"risk_score": STORED.risk_score + 2e-6}, "risk_score: 0.300000000 was stored, 0.300002000 is computed"),
        ({"risk_60plus": 0.5}, "risk_60plus: 0.333333333 was stored, 0.500000000 is computed"),
        ({"category": "low"}, "category: high was stored, low is computed"),
        ({"policy_version": "3"}, "policy_version: 2 was stored, 3 is computed"),
        ({"coverage": Coverage(1.0, 0.5, 0.0, 19)}, "coverage: another one is computed"),
        ({"reasons": ()}, "reasons: others are computed"),
        ({"reasons": None}, "reasons: others are computed"),
        ({"reasons": (Reason("absence", "Missed 9 of 20 days", 0.72),)}, "reasons: with other effects"),
        ({"reasons": (Reason("absence", "Missed 8 of 20 days", 0.71),)}, "reasons: others are computed"),
        ({"protective_factors": STORED.reasons}, "protective factors: others are computed"),
    ],
)
def test_each_field_that_differs_is_told(changed: dict, told: str) -> None:
    assert differences(STORED, replace(STORED, **changed)) == (told,)


def test_reasons_that_were_not_stored_are_not_compared() -> None:
    bare = replace(STORED, reasons=None, protective_factors=None)
    assert differences(bare, STORED) == ()
