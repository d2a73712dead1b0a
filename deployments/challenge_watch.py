"""What a gateway knows of the challenge: how it is set, and whether a replica serves the challenging version."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from deployments.messages import ServedModel
from deployments.time_limit import TimeLimit, Waiting
from edupulse_ml.core.challenge import Challenge
from edupulse_ml.core.ids import ModelVersion

T = TypeVar("T")
_log: Final = logging.getLogger("ray.serve")


class WatchMetrics(Protocol):
    """Shows how the challenge is set (0 without one), whether it is being served, and whether the setting is unreadable."""

    def challenge(self, *, shadow: float, split: float, serving: bool) -> None: ...

    def setting_unreadable(self, *, unreadable: bool) -> None: ...


@dataclass(frozen=True)
class WatchTimes:
    """Seconds between looks at the setting, and between looks at the challenger while there is a challenge; longest waits,
    in seconds: for the setting, for a challenger whose first replica may have to start, and for one that served before.
    """

    setting_s: float = 5.0
    served_s: float = 1.0
    setting_timeout_s: float = 4.0
    start_timeout_s: float = 60.0
    served_timeout_s: float = 5.0


class ChallengeWatch:
    """Looks at the setting and the challenger in the background, so that no request waits for either. Belongs to one event
    loop.

    A setting that cannot be read leaves the one known before in force. While a challenge asks the challenger for
    anything, it is asked what it serves; that also starts its first replica.

    Args:
        setting: Reads the challenge that is on.
        served: What a replica of the challenger serves.
        champion: The version that the champion's replicas serve.
        metrics: Gauges.
        times: Pace and patience.
    """

    def __init__(
        self,
        *,
        setting: Callable[[], Awaitable[Challenge | None]],
        served: Callable[[], Awaitable[ServedModel]],
        champion: Callable[[], Awaitable[ServedModel]],
        metrics: WatchMetrics,
        times: WatchTimes = WatchTimes(),
    ) -> None:
        self._setting = setting
        self._served = served
        self._champion = champion
        self._metrics = metrics
        self._times = times
        self._setting_limit = TimeLimit(times.setting_timeout_s)
        self._start_limit = TimeLimit(times.start_timeout_s)
        self._served_limit = TimeLimit(times.served_timeout_s)
        self._challenge: Challenge | None = None
        self._serving: ModelVersion | None = None
        self._unreadable = False

    @property
    def challenge(self) -> Challenge | None:
        """The challenge that is on and asks for anything; None without one."""
        return self._challenge

    @property
    def ready(self) -> Challenge | None:
        """The challenge, if a replica served its version when last asked and the champion is another one."""
        challenge = self._challenge
        return challenge if challenge is not None and challenge.version == self._serving else None

    async def run(self) -> None:
        """Look at both, for ever."""
        await self.read_setting()
        await asyncio.gather(self._keep_reading(), self._keep_asking())

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(self._times.setting_s)
            await self.read_setting()

    async def _keep_asking(self) -> None:
        while True:
            await self.ask_challenger()
            await asyncio.sleep(self._times.served_s)

    async def read_setting(self) -> None:
        """Learn how the challenge is set; never raises."""
        try:
            found = await self._setting_limit.run(_awaited(self._setting), Waiting("postgresql"))
        except Exception as error:  # noqa: BLE001 - whatever is wrong, serving goes on as it was set before
            if not self._unreadable:
                _log.warning("the challenge's setting cannot be read (%s): the last one stays", type(error).__name__)
            self._unreadable = True
        else:
            self._challenge = None if found is None or found.is_idle else found
            self._unreadable = False
        self._metrics.setting_unreadable(unreadable=self._unreadable)
        self._show()

    async def ask_challenger(self) -> None:
        """Learn what the challenger serves, if there is a challenge; never raises."""
        if self._challenge is None:
            self._serving = None
            return
        try:
            limit = self._served_limit if self._serving is not None else self._start_limit
            served = await limit.run(_awaited(self._served), Waiting("ray serve"))
            champion = await self._served_limit.run(_awaited(self._champion), Waiting("ray serve"))
            self._serving = served.version if served.version != champion.version else None
        except Exception as error:  # noqa: BLE001 - without a challenger the champion answers everybody
            if self._serving is not None:
                _log.warning("the challenger does not say what it serves (%s)", type(error).__name__)
            self._serving = None
        self._show()

    def _show(self) -> None:
        challenge = self._challenge
        self._metrics.challenge(
            shadow=challenge.shadow if challenge else 0.0,
            split=challenge.split if challenge else 0.0,
            serving=self.ready is not None,
        )


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()
