"""Windows as bytes."""

import numpy as np
import pytest

from edupulse_ml.core.sequences import SequenceBatch, concatenate_batches, empty_windows, last_windows
from edupulse_ml.core.windows import decode_windows, encode_windows, window_size_bytes
from tests.fakes.blocks import block_of

WEEKS = [20_087 + 7 * number for number in range(30)]


def random_windows(*lengths: int, window_weeks: int = 20) -> SequenceBatch:
    return last_windows(block_of([WEEKS[:length] for length in lengths], seed=5), window_weeks=window_weeks)


def assert_equal_batches(left: SequenceBatch, right: SequenceBatch) -> None:
    for name, values in vars(left).items():
        other = getattr(right, name)
        assert (values.dtype, values.tobytes()) == (other.dtype, other.tobytes()), name


@pytest.mark.parametrize("lengths", [(30,), (3,), (0,), (30, 1, 0, 20, 19), ()])
def test_windows_come_back_bit_by_bit(lengths):
    batch = random_windows(*lengths) if lengths else empty_windows(0, window_weeks=20)
    records = encode_windows(batch)
    assert [len(record) for record in records] == [window_size_bytes(20)] * len(lengths)
    assert_equal_batches(decode_windows(b"".join(records), window_weeks=20), batch)


def test_records_may_be_joined_in_another_order():
    batch = random_windows(4, 25)
    first, second = encode_windows(batch)
    assert_equal_batches(decode_windows(second + first, window_weeks=20), batch.select([1, 0]))


def test_the_layout_is_the_one_that_stores_hold():
    """A stored window outlives the release that wrote it: another layout needs another length or a new column."""
    batch = empty_windows(1, window_weeks=2)
    batch.values[0] = np.arange(84).reshape(2, 42)
    batch.support[0] = 100 + np.arange(10).reshape(2, 5)
    batch.aux[0] = 200 + np.arange(6).reshape(2, 3)
    batch.context[0] = 300 + np.arange(4)
    batch.week[0] = [20_087, 20_094]
    batch.grade_level[0] = [9, 10]
    batch.mask[0] = [[True, False, True], [False, True, False]]
    (record,) = encode_windows(batch)
    floats = [*range(84), *range(100, 110), *range(200, 206), *range(300, 304)]
    assert record == (
        np.array(floats, "<f4").tobytes()
        + np.array([20_087, 20_094, 9, 10], "<i4").tobytes()
        + bytes([1, 0, 1, 0, 1, 0])
    )


def test_decoded_arrays_may_be_written_to():
    batch = decode_windows(b"".join(encode_windows(random_windows(20, 4))), window_weeks=20)
    assert all(values.flags.writeable and values.flags.c_contiguous for values in vars(batch).values())
    assert_equal_batches(concatenate_batches([batch.select([0]), batch.select([1])]), batch)


def test_half_a_record_is_refused():
    with pytest.raises(ValueError, match="multiple"):
        decode_windows(encode_windows(random_windows(20))[0][:-1], window_weeks=20)
