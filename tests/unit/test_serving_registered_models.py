"""A registry that hangs is not waited for, and is opened once."""

import asyncio
import threading

import pytest

from deployments.registered_models import RegisteredModels
from deployments.time_limit import NoAnswerInTimeError
from edupulse_ml.core.ids import ModelVersion


class EmptyRegistry:
    """A district without models."""

    def alias(self, alias: str) -> None:
        return None

    def versions(self) -> list[ModelVersion]:
        return []


def test_a_registry_that_hangs_is_named_and_answers_later() -> None:
    released = threading.Event()
    opened: list[EmptyRegistry] = []

    def open_slowly() -> EmptyRegistry:
        released.wait(30)
        opened.append(EmptyRegistry())
        return opened[-1]

    async def work() -> None:
        models = RegisteredModels(open_slowly, timeout_s=0.05)  # pyright: ignore[reportArgumentType]
        try:
            for _ in range(2):
                with pytest.raises(NoAnswerInTimeError) as told:
                    await models.list(limit=5)
                assert told.value.dependency == "model registry"
        finally:
            released.set()
        patient = RegisteredModels(lambda: opened[0], timeout_s=30)  # pyright: ignore[reportArgumentType]
        assert await patient.list(limit=5) == []

    asyncio.run(work())
    assert len(opened) == 1
