import numpy as np
import pyarrow as pa
import pytest

from edupulse_ml.storage.repeats import SeenKeys


@pytest.mark.parametrize(("slot_bits", "exact"), [(26, True), (6, False)])
def test_no_repetition_is_missed_and_with_room_none_is_made_up(slot_bits, exact):
    random = np.random.default_rng(3)
    seen = SeenKeys(slot_bits=slot_bits)
    known: set[tuple[int, str]] = set()
    found_before = 0
    for _ in range(20):
        students = random.integers(0, 20, 30)
        names = [f"a{number}" for number in random.integers(0, 30, 30)]
        keys = list(zip(students.tolist(), names, strict=True))
        before, within = seen.add([students, pa.array(names).dictionary_encode()])
        expected_before = np.array([key in known for key in keys])
        assert before[expected_before].all()
        np.testing.assert_array_equal(within, [keys.count(key) > 1 for key in keys])
        if exact:
            np.testing.assert_array_equal(before, expected_before)
        known.update(keys)
        found_before += int(expected_before.sum())
    assert found_before > 50


def test_numbers_alone_and_neighbours_are_told_apart():
    seen = SeenKeys()
    students, days = (part.ravel() for part in np.meshgrid(np.arange(300), np.arange(20_000, 20_300)))
    before, within = seen.add([students, days])
    assert not before.any()
    assert not within.any()
    before, _ = seen.add([students + 300, days])
    assert before.mean() < 0.001
