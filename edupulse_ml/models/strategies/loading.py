"""Reads a stored model of any strategy. Which one it is stands in the folder, so the registry chooses, not the code."""

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.models.artifact import EngineName
from edupulse_ml.models.strategies.protocol import ServableModel
from edupulse_ml.models.terms import stored_strategy


class Loader(Protocol):
    """Reads the folder of one strategy."""

    def __call__(self, directory: Path, *, engine: EngineName, threads: int, device: str) -> ServableModel: ...


def _gru(directory: Path, *, engine: EngineName, threads: int, device: str) -> ServableModel:
    from edupulse_ml.models.artifact import ModelArtifact

    return ModelArtifact.load(directory, engine=engine, threads=threads, device=device)


def _ensemble(directory: Path, *, engine: EngineName, threads: int, device: str) -> ServableModel:
    from edupulse_ml.models.strategies.ensemble import EnsembleModel

    return EnsembleModel.load(directory, engine=engine, threads=threads, device=device)


def _boosted(directory: Path, *, engine: EngineName, threads: int, device: str) -> ServableModel:
    from edupulse_ml.models.strategies.boosted import BoostedModel

    del engine, device  # trees run on a CPU, in one way
    return BoostedModel.load(directory, threads=threads)


def _rules(directory: Path, *, engine: EngineName, threads: int, device: str) -> ServableModel:
    from edupulse_ml.models.strategies.rules import RulesModel

    del engine, threads, device  # a rule has nothing to choose
    return RulesModel.load(directory)


SERVABLE: Final[Mapping[str, Loader]] = types.MappingProxyType(
    {"gru": _gru, "boosted": _boosted, "ensemble": _ensemble, "rules": _rules}
)
"""Every strategy by name. A loader imports its own libraries, so that a replica imports those of its model only."""


def load_strategy(
    directory: Path, *, engine: EngineName = "onnx", threads: int = 1, device: str = "cpu"
) -> ServableModel:
    """The model that `ServableModel.save` wrote into `directory`.

    `engine` and `device` are for networks (see `EngineName`), `threads` bounds one scoring on a CPU, 0 meaning one
    thread per core.

    Raises:
        NotFoundError: the folder is not a complete model, or of a strategy that this release does not know.
    """
    name = stored_strategy(directory)
    loader = SERVABLE.get(name)
    if loader is None:
        msg = (
            f"{directory} holds a model of the strategy {name!r}, and this release serves {', '.join(SERVABLE)}: "
            "deploy the release that trained it, or promote another version."
        )
        raise NotFoundError(msg)
    return loader(directory, engine=engine, threads=threads, device=device)
