"""A registry that hangs is not waited for, and is opened once."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from deployments.registered_models import RegisteredModel, RegisteredModels
from deployments.time_limit import NoAnswerInTimeError
from edupulse_ml.core.ids import ModelVersion


class EmptyRegistry:
    """A district without models."""

    def alias(self, alias: str) -> None:
        return None

    def versions(self) -> list[ModelVersion]:
        return []


async def asked_until_answered(models: RegisteredModels) -> Sequence[RegisteredModel]:
    async with asyncio.timeout(30):
        while True:
            try:
                return await models.list(limit=5)
            except NoAnswerInTimeError:
                continue


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
        assert await asked_until_answered(models) == []

    asyncio.run(work())
    assert len(opened) == 1
