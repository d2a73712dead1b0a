"""What moved a score, over a model that can be worked out by hand: the logit is the sum over weeks of three rates."""

from dataclasses import replace

import numpy as np
import pytest

from edupulse_ml.core.contract import FEATURE_INDEX
from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.sequences import PAD, FeatureBlock, SequenceBatch, last_windows
from edupulse_ml.explain.change_windows import change_windows, without_first
from edupulse_ml.explain.changes import PARTS, ScoreChange, explain_change
from tests.fakes.serving import LAST_WEEK, student_block

WINDOW = 4
ABSENT, MISSING, OSS = (
    FEATURE_INDEX[name] for name in ("absence_rate_4wk", "missing_assignment_rate_4wk", "oss_days_8wk")
)
WEIGHTS = {ABSENT: 1.0, MISSING: 2.0, OSS: 0.5}


def logits(batch: SequenceBatch) -> np.ndarray:
    return sum(weight * np.nansum(batch.values[:, :, column], axis=1) for column, weight in WEIGHTS.items()) - 2.0


def risk(batch: SequenceBatch) -> np.ndarray:
    return 1 / (1 + np.exp(-logits(batch).astype(np.float64)))


def doubled(batch: SequenceBatch) -> np.ndarray:
    return 1 / (1 + np.exp(-2 * logits(batch).astype(np.float64)))


def block(*absent: float, **columns: tuple[float, ...]) -> FeatureBlock:
    """One student with a week per rate, the last of them `LAST_WEEK`."""
    made = student_block(0.0, weeks=len(absent))
    trimmed = FeatureBlock(**{name: array[:, -len(absent) :] for name, array in vars(made).items()})
    trimmed.values[0, :, ABSENT] = absent
    for name, values in columns.items():
        trimmed.values[0, :, FEATURE_INDEX[name]] = values
    return trimmed


def until(whole: FeatureBlock, weeks: int) -> FeatureBlock:
    return FeatureBlock(**{name: array[:, :weeks] for name, array in vars(whole).items()})


def explained(before: FeatureBlock, after: FeatureBlock, uncorrected: FeatureBlock, *, new_model=None) -> ScoreChange:
    last_week = int(before.week[0].max())
    windows = change_windows(before, after, uncorrected, last_week=last_week, window_weeks=WINDOW)
    return explain_change(windows, score=risk, new_model=new_model, new_window=last_windows(after, window_weeks=WINDOW))


def moves(change: ScoreChange) -> dict[str, float]:
    return {part.part: pytest.approx(part.logit, abs=1e-6) for part in change.parts}


def test_each_part_is_what_its_own_records_did() -> None:
    # Weeks 1 to 4 were seen; week 5 came, week 1 left; then a correction made week 5 worse, and the model doubles.
    seen = block(0.5, 0.1, 0.1, 0.1, 0.3)
    corrected = block(0.5, 0.1, 0.1, 0.1, 0.4)
    change = explained(until(seen, 4), corrected, seen, new_model=doubled)
    end = 0.1 + 0.1 + 0.1 + 0.4 - 2
    assert {"new_records": 0.3, "left_window": -0.5, "corrected_records": 0.1, "new_model": end} == moves(change)
    assert [part.weeks for part in change.parts] == [1, 1, 0, 0]
    assert [part.part for part in change.parts] == list(PARTS)


def test_nothing_changed_is_nothing_at_all() -> None:
    same = block(0.2, 0.4)
    assert {part.logit for part in explained(same, same, same).parts} == {0.0}


def test_history_that_was_rewritten_counts_as_corrected() -> None:
    before, after = block(0.1, 0.1), block(0.6, 0.1)
    change = explained(before, after, after)
    assert moves(change) == {"new_records": 0, "left_window": 0, "corrected_records": 0.5, "new_model": 0}
    (concept,) = change.parts[2].concepts
    assert (concept.concept, concept.effect) == ("recent absences", pytest.approx(0.5, abs=1e-6))


def test_a_window_that_was_exchanged_as_a_whole_is_all_new() -> None:
    late = block(*[0.1] * 10)
    change = explained(until(late, 3), late, late)
    assert moves(change) == {"new_records": 0.1, "left_window": 0, "corrected_records": 0, "new_model": 0}
    assert change.parts[0].weeks == WINDOW


def test_concepts_say_what_pushed_the_parts_way_and_by_how_much() -> None:
    whole = block(0.1, 0.1, 0.7, missing_assignment_rate_4wk=(0.5, 0.5, 0.2), oss_days_8wk=(0.0, 0.0, 3.0))
    whole.support[:] = 20.0
    change = explained(until(whole, 2), whole, whole)
    new = change.parts[0]
    # 0.7 of absence, 2 x 0.2 of work and 0.5 x 3 days came with the week.
    assert new.logit == pytest.approx(0.7 + 0.4 + 1.5, abs=1e-6)
    assert [(item.concept, pytest.approx(item.effect, abs=1e-6)) for item in new.concepts] == [
        ("suspensions", 1.5),
        ("recent absences", 0.6),
    ]
    assert new.concepts[1].text == (
        "Missed 14 of 20 days in the last 4 school weeks; at the prediction before: 2 of 20 days."
    )
    assert (new.concepts[0].text or "").startswith(
        "Out-of-school suspension in the last 8 school weeks: 3 days; at the prediction before: 0 days."
    )


def test_weeks_that_are_gone_from_the_records_leave_nothing_to_compare() -> None:
    old, other = block(0.1, 0.1), block(0.1, 0.1)
    other.week[0] += 7 * 4
    with pytest.raises(NotEnoughDataError, match="enrolment was corrected"):
        explained(old, other, other)


def test_a_window_without_its_first_weeks_stays_left_aligned() -> None:
    window = last_windows(block(0.1, 0.2, 0.3), window_weeks=WINDOW)
    rest = without_first(window, 2)
    assert rest.week[0].tolist() == [LAST_WEEK, PAD, PAD, PAD]
    assert rest.values[0, 0, ABSENT] == pytest.approx(0.3)
    assert np.isnan(rest.values[0, 1:]).all()
    assert not rest.mask[0, 1:].any()
    np.testing.assert_array_equal(rest.context, window.context)
    assert without_first(window, 0).week.tolist() == window.week.tolist()


def test_equal_windows_are_scored_once() -> None:
    asked: list[int] = []

    def counted(batch: SequenceBatch) -> np.ndarray:
        asked.append(batch.n_examples)
        return risk(batch)

    same = block(0.2, 0.4)
    windows = change_windows(same, same, same, last_week=LAST_WEEK, window_weeks=WINDOW)
    explain_change(windows, score=counted, new_model=None, new_window=windows.select([4]))
    assert asked == [1]
    worse = replace(same, values=same.values + 1)
    windows = change_windows(same, worse, worse, last_week=LAST_WEEK, window_weeks=WINDOW)
    explain_change(windows, score=counted, new_model=None, new_window=windows.select([4]))
    assert asked == [1, 2]
