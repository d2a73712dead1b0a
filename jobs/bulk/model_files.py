"""A trained model as bytes, so that a worker on any node can load it without a registry."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.models.strategies import ServableModel, load_strategy


@dataclass(frozen=True)
class ModelFiles:
    """The files of one version by name; a few hundred kilobytes."""

    version: ModelVersion
    files: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def read(cls, version: ModelVersion, folder: Path) -> Self:
        """The files of a folder that `ServableModel.save` wrote."""
        return cls(version, {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()})

    def load(self) -> ServableModel:
        """The model on one core: the workers are as many as there are cores.

        Raises:
            NotFoundError: files are missing.
        """
        with tempfile.TemporaryDirectory(prefix="edupulse-model-") as folder:
            for name, data in self.files.items():
                (Path(folder) / name).write_bytes(data)
            return load_strategy(Path(folder), threads=1)
