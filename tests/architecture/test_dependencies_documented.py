"""`docs/http-api.md` names every server that a 503 may name."""

from pathlib import Path

import pytest

from deployments import job_server, lane, moments
from edupulse_ml.core.errors import MODEL_REGISTRY, DependencyDownError
from edupulse_ml.registry.connection import translated_errors
from edupulse_ml.storage.errors import DEPENDENCY

DOCUMENT = Path(__file__).parents[2] / "docs" / "http-api.md"
NAMES = {
    DEPENDENCY,
    lane.POSTGRESQL,
    lane.REDIS,
    lane.RAY_SERVE,
    job_server.DEPENDENCY,
    moments.DISTRICT,
    MODEL_REGISTRY,
}


def test_every_name_is_documented() -> None:
    (row,) = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| 503 |")]
    assert [name for name in NAMES if f"`{name}`" not in row] == []


def test_a_registry_that_does_not_answer_has_the_name_of_a_missing_model() -> None:
    with pytest.raises(DependencyDownError) as told, translated_errors():
        raise OSError
    assert told.value.dependency == MODEL_REGISTRY
