"""Which student-weeks met support, and that leaving them out as done here shows the risk without support."""

import numpy as np
import pytest

from edupulse_ml.core.feedback import Interventions
from edupulse_ml.core.outcomes import Outcomes, Task, task_labels
from edupulse_ml.core.sequences import FeatureBlock
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.evaluation.interventions import (
    InterventionSpells,
    intervention_spells,
    steps_not_to_learn_from,
    steps_that_met_intervention,
)
from edupulse_ml.evaluation.outcomes import eligible_steps
from tests.fakes.stores import empty_block

MONDAY = 18_876
HORIZON = 180


def spells(*rows: tuple[int, int, int]) -> InterventionSpells:
    columns = np.asarray(rows, dtype=np.int32).reshape(-1, 3)
    return InterventionSpells(columns[:, 0], columns[:, 1], columns[:, 2])


def weeks(students: int, count: int) -> FeatureBlock:
    block = empty_block(students, count)
    block.week[:] = MONDAY + 7 * np.arange(count)
    return block


def test_a_week_met_support_that_was_in_force_or_began_within_the_horizon() -> None:
    block = weeks(2, 12)
    start = MONDAY + 7 * 6 + 6  # the cutoff of week 6
    met = steps_that_met_intervention(block, spells((1, start, start + 14)), horizon_days=21)
    assert not met[0].any()
    assert np.flatnonzero(met[1]).tolist() == [3, 4, 5, 6, 7, 8], "21 days before it, and through its last day"


def test_padding_never_met_anything() -> None:
    block = weeks(1, 6)
    block.week[0, 4:] = -1
    met = steps_that_met_intervention(block, spells((0, MONDAY + 30, MONDAY + 90)), horizon_days=60)
    assert met[0].tolist() == [True] * 4 + [False] * 2


def test_several_spells_of_a_student_count_each() -> None:
    block = weeks(1, 20)
    rows = [(0, MONDAY + 7 * week, MONDAY + 7 * week + 6) for week in (3, 9, 15)]
    assert np.flatnonzero(steps_that_met_intervention(block, spells(*rows), horizon_days=0)).tolist() == [3, 9, 15]


def test_support_without_an_end_lasts_eight_weeks_and_what_is_not_known_yet_is_no_support() -> None:
    given = Interventions(
        student=np.asarray([1, 0, 0], np.int32),
        start_day=np.asarray([100, 100, 300], np.int32),
        end_day=np.asarray([NEVER, 120, 310], np.int32),
        known_day=np.asarray([101, 101, 201], np.int32),
        superseded_day=np.asarray([NEVER, 180, NEVER], np.int32),
    )
    early, late = intervention_spells(given, as_of_day=150), intervention_spells(given, as_of_day=200)
    assert (early.student.tolist(), early.end_day.tolist()) == ([0, 1], [120, 155])
    assert (late.student.tolist(), late.end_day.tolist()) == ([1], [155]), "retracted, and not known yet"


def test_without_support_nothing_is_left_out() -> None:
    block = weeks(3, 5)
    nobody_left = Outcomes(np.full(3, NEVER, np.int32), np.full(3, MONDAY + 400, np.int32), MONDAY + 400)
    assert not steps_not_to_learn_from(block, nobody_left, spells(), horizon_days=HORIZON, seed=0).any()


def supported_district(
    *, effect: float, students: int = 4000
) -> tuple[FeatureBlock, Outcomes, InterventionSpells, np.ndarray]:
    """Three kinds of students, told apart by their features, with a weekly hazard of leaving and of being supported for
    eight weeks, in which the hazard is multiplied by `effect`. The last result is the kind.
    """
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, students)
    hazard, offered = HAZARD[kind], np.asarray([0.0, 0.01, 0.03])[kind]
    length, total = 20, 20 + 27
    event, supported_until = np.full(students, NEVER), np.full(students, -1)
    rows: list[tuple[int, int, int]] = []
    for week in range(total):
        there = event == NEVER
        begins = there & (supported_until < week) & (rng.random(students) < offered)
        rows += [(who, MONDAY + 7 * week, MONDAY + 7 * week + 55) for who in np.flatnonzero(begins)]
        supported_until[begins] = week + 7
        leaves = there & (rng.random(students) < np.where(supported_until >= week, hazard * effect, hazard))
        event[leaves] = MONDAY + 7 * week + 3
    block = weeks(students, length)
    real = block.week < event[:, None]
    block.week[~real] = -1
    noise = rng.normal(0, 0.1, block.values.shape)
    block.values[:] = np.where(real[:, :, None], kind[:, None, None] + noise, np.nan)
    end = MONDAY + 7 * total
    outcomes = Outcomes(event.astype(np.int32), np.where(event == NEVER, end, event).astype(np.int32), end)
    return block, outcomes, spells(*sorted(rows)), kind


HAZARD = np.asarray([0.001, 0.004, 0.012])
RISK = 1 - (1 - HAZARD) ** 26
"""Of leaving within 180 days without support, by kind."""


def share_that_left(block: FeatureBlock, outcomes: Outcomes, chosen: np.ndarray) -> float:
    student, step = np.nonzero(chosen)
    cutoff = (block.week[student, step] + 6).astype(np.int32)
    label = task_labels(outcomes.select(student.astype(np.int32)), cutoff_day=cutoff, task=Task("r", 0, HORIZON))
    return float(label[label >= 0].mean())


@pytest.mark.parametrize("effect", [1.0, 0.1])
def test_what_is_left_shows_the_risk_without_support_whether_or_not_support_works(effect: float) -> None:
    block, outcomes, given, kind = supported_district(effect=effect)
    real = eligible_steps(block, outcomes)
    left_out = steps_not_to_learn_from(block, outcomes, given, horizon_days=HORIZON, seed=0)
    met = steps_that_met_intervention(block, given, horizon_days=HORIZON)
    often_supported = (kind == 2)[:, None] & real
    risk = share_that_left(block, outcomes, often_supported & ~left_out)
    assert risk == pytest.approx(RISK[2], rel=0.15)
    seldom_supported = (kind == 1)[:, None] & real
    assert share_that_left(block, outcomes, seldom_supported & ~left_out) == pytest.approx(RISK[1], rel=0.25)
    assert (left_out & (kind == 0)[:, None]).sum() < 0.01 * real.sum(), "nobody of this kind was supported"
    # The ways that look simpler: whoever met support left out, also where leavers could not be supported any more.
    assert share_that_left(block, outcomes, often_supported & ~met) > 1.2 * RISK[2]
    if effect < 1:
        assert share_that_left(block, outcomes, often_supported) < 0.9 * RISK[2], "the rescued learned as false alarms"


def test_the_same_seed_leaves_out_the_same() -> None:
    block, outcomes, given, _ = supported_district(effect=0.5, students=600)
    first, again = (steps_not_to_learn_from(block, outcomes, given, horizon_days=HORIZON, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
