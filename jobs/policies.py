"""Which policy holds: the file that an option names, else the one that a setting names, else the one of this release."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.evaluation.promotion_policy import PromotionPolicy, load_policy
from edupulse_ml.monitoring.data_policy import DataPolicy, load_data_policy
from edupulse_ml.monitoring.watch_policy import WatchPolicy, load_watch_policy

PROMOTION_POLICY: Final = "EDUPULSE_PROMOTION_POLICY"
DATA_POLICY: Final = "EDUPULSE_DATA_POLICY"

PromotionPolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help=f"Policy file; default: that of {PROMOTION_POLICY}, else the one of this release."),
]
"""The option of every job that judges models or monitors them."""

DataPolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help=f"Policy file; default: that of {DATA_POLICY}, else the one of this release."),
]

_Loaded = TypeVar("_Loaded")


def promotion_policy(settings: Settings, *, option: Path | None = None) -> PromotionPolicy:
    """What a candidate must meet.

    Raises:
        InvalidInputError: the file is missing or does not fit; the message names it, and the setting if that named it.
    """
    return _load(load_policy, option, settings.promotion_policy, PROMOTION_POLICY)


def watch_policy(settings: Settings, *, option: Path | None = None) -> tuple[str, WatchPolicy]:
    """Version of the promotion policy, and the limits of monitoring in it.

    Raises:
        InvalidInputError: as `promotion_policy`.
    """
    return _load(load_watch_policy, option, settings.promotion_policy, PROMOTION_POLICY)


def data_policy(settings: Settings, *, option: Path | None = None) -> DataPolicy:
    """What the records must show.

    Raises:
        InvalidInputError: as `promotion_policy`.
    """
    return _load(load_data_policy, option, settings.data_policy, DATA_POLICY)


def chosen(option: Path | None, setting: Path | None) -> Path | None:
    """The file that holds; None: this release's."""
    return setting if option is None else option


def _load(load: Callable[[Path | None], _Loaded], option: Path | None, setting: Path | None, variable: str) -> _Loaded:
    path = chosen(option, setting)
    try:
        return load(path)
    except InvalidInputError as error:
        if option is not None or setting is None:
            raise
        msg = f"{variable}: {error}"
        raise InvalidInputError(msg) from error
