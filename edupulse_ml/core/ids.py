"""Typed identifiers, so that a school is never passed where a student is meant."""

from typing import NewType

DistrictId = NewType("DistrictId", str)
"""Name of the tenant; every stored row carries it."""

StudentId = NewType("StudentId", str)
"""The district's own student identifier, as it stands in the imported files."""

StudentKey = NewType("StudentKey", int)
"""The store's surrogate for a student; the only identifier that may appear in a log."""

ModelVersion = NewType("ModelVersion", str)
"""Version of a registered model, as the registry numbers it."""

PredictionId = NewType("PredictionId", str)
"""UUID of one stored prediction."""
