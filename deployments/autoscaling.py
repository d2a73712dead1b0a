"""When a deployment gets more replicas and when fewer: a policy for Serve's autoscaler, which applies bounds and delays.

Pure: sees only what it is given, keeps its memory in the state that Serve hands back.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from edupulse_ml.core.errors import InvalidInputError

_BUCKETS: Final = 20
"""Parts of the time looked back for the greatest need; the policy is asked ten times a second, so needs are merged."""
_PEAKS: Final = "edupulse_peaks"


class ScalingLimits(Protocol):
    """What the policy reads of Ray's `AutoscalingConfig`."""

    downscale_delay_s: float


class ScalingContext(Protocol):
    """What the policy reads of Ray's `AutoscalingContext`."""

    @property
    def target_num_replicas(self) -> int: ...

    @property
    def total_num_requests(self) -> float: ...

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]] | None: ...

    @property
    def capacity_adjusted_min_replicas(self) -> int: ...

    @property
    def capacity_adjusted_max_replicas(self) -> int: ...

    @property
    def policy_state(self) -> Mapping[str, Any]: ...

    @property
    def current_time(self) -> float | None: ...

    @property
    def config(self) -> ScalingLimits | None: ...


class SteadyScaling:
    """As many replicas as the work in hand needs, up at once and down to the greatest need of the last minutes.

    Serve's own policy goes down to the need of the very moment in which the delay ends, and turns at every whole
    number. This one keeps a band around whole numbers, and goes no lower than was needed within
    `downscale_delay_s`.

    Args:
        per_replica: Work that one replica should have in hand: students of the figure `metric`, else requests.
        metric: Figure that replicas report through `record_autoscaling_stats`; None: requests as Serve counts them.
        band: How far beyond a whole number of replicas the need must lie before the number changes, in replicas.

    Raises:
        InvalidInputError: `per_replica` is not positive, or `band` not within [0, 0.5).
    """

    def __init__(self, *, per_replica: float, metric: str | None = None, band: float = 0.1) -> None:
        if per_replica <= 0 or not 0 <= band < 0.5:
            msg = "policy_kwargs of an autoscaling_config: per_replica must be positive, and band from 0 to below 0.5."
            raise InvalidInputError(msg)
        self._per_replica = per_replica
        self._metric = metric
        self._band = band

    def __call__(self, ctx: ScalingContext) -> tuple[int, dict[str, Any]]:
        """Wanted number of replicas, and the state for the next call."""
        work = self._work(ctx)
        if work is None:  # no replica has reported yet
            return ctx.target_num_replicas, dict(ctx.policy_state)
        need = work / self._per_replica
        delay_s = ctx.config.downscale_delay_s if ctx.config is not None else 0.0
        peaks = _with_need(ctx.policy_state.get(_PEAKS, {}), need, now=ctx.current_time or 0.0, window_s=delay_s)
        wanted = self._wanted(ctx.target_num_replicas, need=need, peak=max(peaks.values()))
        bounded = max(ctx.capacity_adjusted_min_replicas, min(ctx.capacity_adjusted_max_replicas, wanted))
        return bounded, {_PEAKS: peaks}

    def _work(self, ctx: ScalingContext) -> float | None:
        if self._metric is None:
            return ctx.total_num_requests
        reported = (ctx.aggregated_metrics or {}).get(self._metric)
        return sum(reported.values()) if reported else None

    def _wanted(self, target: int, *, need: float, peak: float) -> int:
        up = math.ceil(need - self._band)
        down = math.ceil(peak + self._band) if peak > 0 else 0  # where the bounds allow for none
        return up if up > target else min(down, target)


def _with_need(peaks: Mapping[int, float], need: float, *, now: float, window_s: float) -> dict[int, float]:
    """The greatest need of each part of the last `window_s` seconds, this moment's included."""
    width_s = max(window_s / _BUCKETS, 0.001)
    current = math.floor(now / width_s)
    kept = {part: peak for part, peak in peaks.items() if current - _BUCKETS < part <= current}
    kept[current] = max(need, kept.get(current, 0.0))
    return kept
