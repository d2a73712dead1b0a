"""A challenge: one version of the model beside the champion, the share of students it is asked about, and which ones.

Who is asked about is a function of the challenge and the student alone, so that every process, and a report a year
later, draws the same students; another challenge draws others.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.ids import ModelVersion, StudentId
from edupulse_ml.core.predictions import Prediction

CHALLENGER: Final = "challenger"
"""Alias of the registry that names the challenging version."""

_SHADOW, _SPLIT = "shadow", "split"
_MANTISSA_BITS: Final = 53


@dataclass(frozen=True)
class Challenge:
    """`shadow`: share (0-1) of the students whose answers the challenger scores too, without being heard. `split`: share
    (0-1) of the students whom it answers. A share that grows keeps the students it had.

    Raises:
        InvalidInputError: a share is not between 0 and 1.
    """

    challenge_id: str
    version: ModelVersion
    shadow: float
    split: float

    def __post_init__(self) -> None:
        for name, share in ((_SHADOW, self.shadow), (_SPLIT, self.split)):
            if not 0.0 <= share <= 1.0:
                msg = f"The {name} weight must be a share between 0 and 1, such as 0.2, not {share:g}."
                raise InvalidInputError(msg)

    @property
    def is_idle(self) -> bool:
        """Whether it asks the challenger nothing."""
        return self.shadow == 0.0 and self.split == 0.0

    def answers(self, student_id: StudentId) -> bool:
        """Whether the student belongs to the challenger's arm."""
        return drawn(self.challenge_id, _SPLIT, student_id, share=self.split)

    def shadows(self, student_id: StudentId) -> bool:
        """Whether the challenger scores what the champion answers about the student."""
        return drawn(self.challenge_id, _SHADOW, student_id, share=self.shadow)


@dataclass(frozen=True)
class ShadowPrediction:
    """What the challenger said of a student beside the prediction `beside`, which was answered."""

    beside: Prediction
    said: Prediction


def drawn(challenge_id: str, purpose: str, student_id: StudentId, *, share: float) -> bool:
    """Whether a share (0-1) of the students, drawn at random by the challenge, holds this one."""
    digest = blake2b(f"{challenge_id}\0{purpose}\0{student_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> (64 - _MANTISSA_BITS)) / 2**_MANTISSA_BITS < share
