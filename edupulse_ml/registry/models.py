"""Registered models of one district: versions, their aliases, and local copies for serving."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edupulse_ml.core.errors import ConflictError, NotFoundError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.registry.connection import open_client, translated_errors
from edupulse_ml.registry.tracking import TrackedRun

Alias = Literal["champion", "previous", "challenger"]
"""The model that is served, the one that it followed, and one that wants to be served."""

CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
ARTIFACT_FOLDER: Final = "model"
_LAST_CHAMPION: Final = "last-champion"
"""File beside a district's local copies that names the champion which was fetched last."""
MAX_TAG_CHARACTERS: Final = 5000
"""MLflow refuses longer values."""


def model_name(district: DistrictId) -> str:
    """Name under which a district's risk models are registered."""
    return f"edupulse-risk-{district}"


@dataclass(frozen=True)
class FetchedModel:
    """A registered model and the local folder that holds its files."""

    version: ModelVersion
    path: Path


def kept_copy(cache_dir: Path, *, name: str, version: ModelVersion | None = None) -> FetchedModel | None:
    """The local copy of `version` (None: of the champion that was fetched last), without asking the registry; None where
    the folder holds none.
    """
    folder = cache_dir / name
    try:
        wanted = version or ModelVersion((folder / _LAST_CHAMPION).read_text(encoding="utf-8").strip())
    except OSError:
        return None
    path = folder / wanted
    return FetchedModel(wanted, path) if wanted and path.is_dir() else None


@dataclass(frozen=True)
class ModelDescription:
    """What the registry knows of one version. `metrics` are the final values of its run."""

    version: ModelVersion
    run_id: str
    created_at_ms: int
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    is_champion: bool


class ModelRegistry:
    """Versions of one district's risk model in MLflow.

    Args:
        tracking_uri: MLflow server or SQLite file.
        name: Registered model name, see `model_name`.
        cache_dir: Folder for local copies; one subfolder per version, shared by processes.
    """

    def __init__(self, tracking_uri: str, *, name: str, cache_dir: Path) -> None:
        self._client = open_client(tracking_uri)
        self._name = name
        self._cache_dir = cache_dir

    def register(self, artifact_dir: Path, run: TrackedRun, *, tags: Mapping[str, str]) -> ModelVersion:
        """Log the files of `artifact_dir` to `run` and register them as a new version."""
        run.log_folder(artifact_dir, artifact_path=ARTIFACT_FOLDER)
        try:
            with translated_errors():
                self._client.create_registered_model(self._name)
        except ConflictError:
            pass  # registered by an earlier run
        with translated_errors():
            source = f"{self._client.get_run(run.run_id).info.artifact_uri}/{ARTIFACT_FOLDER}"
            created = self._client.create_model_version(self._name, source, run.run_id, tags=dict(tags))
        return ModelVersion(str(created.version))

    def set_champion(self, version: ModelVersion) -> None:
        """Point the alias `champion` at `version`, and `previous` at the champion until now.

        `previous` is moved first: whoever is killed in between leaves the old champion served, and a `previous` that
        is the champion itself, which the next call mends.

        Raises:
            NotFoundError: no such version.
        """
        before = self.champion()
        with translated_errors():
            self._client.get_model_version(self._name, version)
        if before is not None and before != version:
            self.set_alias(PREVIOUS, before)
        self.set_alias(CHAMPION, version)

    def champion(self) -> ModelVersion | None:
        """The version that is served, None before the first promotion."""
        return self.alias(CHAMPION)

    def alias(self, alias: Alias) -> ModelVersion | None:
        """The version that the alias points at, None if it points at none."""
        try:
            with translated_errors():
                return ModelVersion(str(self._client.get_model_version_by_alias(self._name, alias).version))
        except NotFoundError:
            return None

    def set_alias(self, alias: Alias, version: ModelVersion | None) -> None:
        """Point one alias at `version`, or at none; the others stay.

        Raises:
            NotFoundError: no such version.
        """
        with translated_errors():
            if version is None:
                self._client.delete_registered_model_alias(self._name, alias)
                return
            self._client.get_model_version(self._name, version)
            self._client.set_registered_model_alias(self._name, alias, version)

    def set_tags(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Say something about a version, for people; a tag that exists is replaced.

        Raises:
            NotFoundError: no such version.
        """
        with translated_errors():
            for key, value in tags.items():
                self._client.set_model_version_tag(self._name, version, key, value[:MAX_TAG_CHARACTERS])

    def read_text(self, version: ModelVersion, path: str) -> str | None:
        """A text file of the version's run, None where the run has none at `path`.

        Raises:
            NotFoundError: no such version.
        """
        run_id = self._run_of(version)
        with tempfile.TemporaryDirectory(prefix="edupulse-registry-") as scratch, translated_errors():
            listed = self._client.list_artifacts(run_id, str(Path(path).parent) if "/" in path else None)
            if path not in {entry.path for entry in listed}:
                return None
            return Path(self._client.download_artifacts(run_id, path, scratch)).read_text(encoding="utf-8")

    def write_text(self, version: ModelVersion, path: str, text: str) -> None:
        """Keep a text file with the version's run; one at `path` is replaced.

        Raises:
            NotFoundError: no such version.
        """
        run_id = self._run_of(version)
        with translated_errors():
            self._client.log_text(run_id, text, path)

    def fetch(self, version: ModelVersion | None = None) -> FetchedModel:
        """A local copy of `version` (None: the champion), downloaded at most once per cache folder. Which version the
        champion was is remembered there, for `kept_copy`.

        Raises:
            NotFoundError: the district has no champion, or no such version.
            DependencyDownError: MLflow does not answer.
        """
        wanted = version or self.champion()
        if wanted is None:
            raise NotFoundError("This district has no champion model yet: run `edupulse train` first.")
        target = self._cache_dir / self._name / wanted
        if not target.is_dir():
            self._download(wanted, target)
        if version is None:
            _remember_champion(target.parent, wanted)
        return FetchedModel(wanted, target)

    def describe(self, version: ModelVersion) -> ModelDescription:
        """What is known of `version`.

        Raises:
            NotFoundError: no such version.
        """
        with translated_errors():
            found = self._client.get_model_version(self._name, version)
            run = self._client.get_run(str(found.run_id))
        return ModelDescription(
            version=version,
            run_id=str(found.run_id),
            created_at_ms=int(found.creation_timestamp or 0),
            tags={**run.data.tags, **found.tags},
            metrics=dict(run.data.metrics),
            is_champion=self.champion() == version,
        )

    def versions(self) -> list[ModelVersion]:
        """All versions, newest first."""
        with translated_errors():
            found = self._client.search_model_versions(f"name='{self._name}'")
        return sorted((ModelVersion(str(v.version)) for v in found), key=int, reverse=True)

    def find(self, *, tag: str, value: str) -> ModelVersion | None:
        """The newest version that was registered with this tag; None where there is none."""
        with translated_errors():
            found = self._client.search_model_versions(f"name='{self._name}' and tags.`{tag}` = '{value}'")
        return max((ModelVersion(str(version.version)) for version in found), key=int, default=None)

    def _run_of(self, version: ModelVersion) -> str:
        with translated_errors():
            return str(self._client.get_model_version(self._name, version).run_id)

    def _download(self, version: ModelVersion, target: Path) -> None:
        run_id = self._run_of(version)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
            with translated_errors():
                downloaded = Path(self._client.download_artifacts(run_id, ARTIFACT_FOLDER, scratch))
            # A rename is atomic: another process sees the whole copy or none, and the loser of a race keeps the winner's.
            try:
                downloaded.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
                shutil.rmtree(downloaded, ignore_errors=True)


def _remember_champion(folder: Path, version: ModelVersion) -> None:
    remembered = folder / _LAST_CHAMPION
    # What is remembered helps in an outage; that it cannot be written must not cost the model that was just fetched.
    with contextlib.suppress(OSError):
        if remembered.is_file() and remembered.read_text(encoding="utf-8") == version:
            return
        written = folder / f".{_LAST_CHAMPION}-{os.getpid()}"
        written.write_text(version, encoding="utf-8")
        written.replace(remembered)
