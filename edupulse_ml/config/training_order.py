"""What a training run may be asked for from outside, in the limits of `edupulse train`."""

import hashlib
import json
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

WITH_NETWORKS: Final = frozenset({"gru", "ensemble"})
"""Strategies that have epochs, hence checkpoints to go on from."""
RUN_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class TrainingOrder(BaseModel):
    """A training run to be started. Unknown keys are refused; what is left out is what `edupulse train` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    strategy: Literal["gru", "boosted", "ensemble", "rules"] = Field(
        default="ensemble", description="What to train: networks, boosted trees, both, or the rule."
    )
    seeds: int = Field(default=3, ge=1, le=20, description="Seeds of an ensemble: a network and boosted trees of each.")
    test_year: int | None = Field(
        default=None,
        ge=1900,
        le=2199,
        description="School year to test on, by its starting year; null: the latest settled one.",
    )
    by_person: bool = Field(
        default=False, description="Split by person only, where there are fewer than three school years."
    )
    epochs: int = Field(default=50, ge=1, le=1000, description="Most epochs; training stops early.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of everything random.")
    workers: int = Field(default=0, ge=0, le=256, description="Ray Train workers; 0 trains in the run's own process.")
    gpu: bool = Field(default=False, description="Give each Ray Train worker a GPU.")
    resume: str | None = Field(
        default=None,
        pattern=RUN_NAME_PATTERN,
        description="`run_name` of an earlier run on Ray, to go on from its last checkpoint; needs workers.",
    )
    replicates: int = Field(
        default=1000, ge=10, le=100_000, description="Resamplings of students for the intervals of the report."
    )
    allow_small: bool = Field(default=False, description="Train on fewer than 1,000 students; for experiments only.")
    promote: bool = Field(
        default=True,
        description="Make the new model the champion if it meets the promotion policy, or if there is none.",
    )

    @model_validator(mode="after")
    def _needs_workers(self) -> Self:
        if not self.workers and (self.gpu or self.resume is not None):
            msg = "gpu and resume need workers: a run in one process has neither GPUs of Ray nor checkpoints"
            raise ValueError(msg)
        if self.resume is not None and self.strategy not in WITH_NETWORKS:
            msg = "resume goes on with networks: gru or ensemble"
            raise ValueError(msg)
        if self.by_person and self.test_year is not None:
            msg = "by_person splits by person only: it has no test_year"
            raise ValueError(msg)
        return self

    def as_json(self) -> dict[str, Any]:
        """Every field, as kept with the run."""
        return self.model_dump(mode="json")

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what differs from the defaults; two orders with the same one ask for the same run."""
        given = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
