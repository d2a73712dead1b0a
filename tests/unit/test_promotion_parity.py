"""Parity of what is served: exact arithmetic by the hazards, coarser arithmetic by what each student is told."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.scores import Scores
from jobs.promotion.contenders import Contender, measure_parity
from tests.fakes.judged_history import contender
from tests.fakes.strategies import windows
from tests.fakes.training_data import make_training_data

STUDENTS, INTERVALS = 200, 10
BATCH = cast("SequenceBatch", None)
"""The models here answer from a table."""


@dataclass(frozen=True)
class Told:
    """Answers from a table: hazards [B, K], and the risk score [B] that is told of them."""

    hazards: np.ndarray
    risk_score: np.ndarray
    strategy = "gru"

    def score(self, batch: SequenceBatch) -> Scores:
        return Scores(self.risk_score, self.risk_score / 2, self.hazards, np.zeros((STUDENTS, 1), np.float32))


def off_by(students: int, *, hazard: float, score: float) -> Told:
    """So many students whose hazard is off in one interval of ten, and whose score is off by `score` for that."""
    hazards, risk_score = np.full((STUDENTS, INTERVALS), 0.02), np.full(STUDENTS, 0.2)
    hazards[:students, 0] += hazard
    risk_score[:students] += score
    return Told(hazards, risk_score)


def beside_the_reference(served: Told, *, exact: Told) -> Contender:
    model, reference, other = (cast("Any", each) for each in (served, off_by(0, hazard=0.0, score=0.0), exact))
    return Contender(ModelVersion("2"), model, other, reference, "torch", cast("Any", None), model)


@pytest.mark.parametrize(("students", "p99"), [(0, 0.0), (2, 0.0), (5, 0.05)])
def test_coarser_arithmetic_is_measured_by_student_on_the_score_that_is_told(students: int, p99: float) -> None:
    """Five of 200 students are more than one of 100; five of their 2,000 hazards are fewer."""
    served = off_by(students, hazard=0.001, score=0.05)
    parity = measure_parity(beside_the_reference(served, exact=off_by(0, hazard=0.0, score=0.0)), BATCH)
    assert parity.p99 == pytest.approx(p99, abs=1e-3)
    assert parity.is_coarse is (students > 0)
    assert parity.largest == 0.0


def test_exact_arithmetic_is_measured_on_the_hazards_since_calibration_may_have_steps() -> None:
    served = off_by(1, hazard=1e-6, score=0.05)
    parity = measure_parity(beside_the_reference(served, exact=served), BATCH)
    assert parity.largest == pytest.approx(1e-6)
    assert parity.is_coarse is False


def test_a_model_beside_itself_differs_nowhere() -> None:
    batch = windows(make_training_data(n_students=30, n_weeks=14, seed=3))
    for strategy in ("gru", "rules"):
        parity = measure_parity(contender(strategy=strategy), batch)
        assert (parity.largest, parity.p99, parity.is_coarse) == (0.0, 0.0, False)
