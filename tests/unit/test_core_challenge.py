"""Who is asked about in a challenge: the same students everywhere, others in another challenge."""

import subprocess
import sys

import pytest

from edupulse_ml.core.challenge import Challenge, drawn
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import ModelVersion, StudentId

STUDENTS = [StudentId(f"S{number:05d}") for number in range(4000)]


def arm(share: float, challenge_id: str = "c", purpose: str = "split") -> set[StudentId]:
    return {student for student in STUDENTS if drawn(challenge_id, purpose, student, share=share)}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_an_arm_holds_its_share(share: float) -> None:
    assert len(arm(share)) / len(STUDENTS) == pytest.approx(share, abs=0.03)
    assert len(arm(0.0)) == 0
    assert len(arm(1.0)) == len(STUDENTS)


def test_a_share_that_grows_keeps_its_students() -> None:
    assert arm(0.1) < arm(0.2) < arm(0.7)


def test_another_challenge_and_another_purpose_draw_anew() -> None:
    for other in (arm(0.5, challenge_id="d"), arm(0.5, purpose="shadow")):
        assert len(arm(0.5) & other) / len(STUDENTS) == pytest.approx(0.25, abs=0.03)


def test_another_process_draws_the_same() -> None:
    code = (
        "from edupulse_ml.core.challenge import drawn\n"
        "print([n for n in range(40) if drawn('c', 'split', f'S{n:05d}', share=0.5)])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str([n for n in range(40) if STUDENTS[n] in arm(0.5)])


@pytest.mark.parametrize(("shadow", "split"), [(-0.1, 0), (1.1, 0), (0, 2), (0, float("nan"))])
def test_a_weight_that_is_no_share_is_refused(shadow: float, split: float) -> None:
    with pytest.raises(InvalidInputError, match="share between 0 and 1"):
        Challenge("c", ModelVersion("2"), shadow, split)
