"""The registry against a real MLflow on SQLite."""

import asyncio
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments.registered_models import RegisteredModels
from edupulse_ml.core.errors import DependencyDownError, NotFoundError
from edupulse_ml.core.ids import DistrictId, ModelVersion
from edupulse_ml.registry.models import ModelRegistry, kept_copy, model_name
from edupulse_ml.registry.tracking import tracked_run


class _Clock:
    def now(self) -> datetime:
        return datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def _registry(uri: str, cache: Path, district: str = "demo") -> ModelRegistry:
    return ModelRegistry(uri, name=model_name(DistrictId(district)), cache_dir=cache)


def _register(uri: str, root: Path, text: str, district: str = "demo") -> ModelVersion:
    artifact = root / f"artifact-{text}"
    artifact.mkdir()
    (artifact / "weights.txt").write_text(text)
    registry = _registry(uri, root / "cache", district)
    with tracked_run(uri, experiment="training", run_name="t", artifact_root=root / "artifacts", clock=_Clock()) as run:
        run.log_params({"window_weeks": 20})
        for epoch in range(3):
            run.log_metrics({"loss": 1.0 / (epoch + 1), "broken": float("nan")}, step=epoch)
        run.set_tags({"git_commit": "abc"})
        return registry.register(artifact, run, tags={"contract": "c"})


def test_a_registered_model_is_fetched_and_promoted(tracking_uri: str, tmp_path: Path) -> None:
    registry = _registry(tracking_uri, tmp_path / "cache", "alpha")
    assert registry.champion() is None
    with pytest.raises(NotFoundError, match="edupulse train"):
        registry.fetch()

    first = _register(tracking_uri, tmp_path, "one", "alpha")
    second = _register(tracking_uri, tmp_path, "two", "alpha")
    registry.set_champion(first)
    assert registry.champion() == first
    assert (registry.fetch().path / "weights.txt").read_text() == "one"
    registry.set_champion(second)
    assert (registry.fetch().path / "weights.txt").read_text() == "two"
    assert registry.versions() == [second, first]

    described = registry.describe(second)
    assert described.is_champion
    assert described.metrics["loss"] == pytest.approx(1 / 3)
    assert "broken" not in described.metrics
    assert described.tags["git_commit"] == "abc"
    assert described.tags["contract"] == "c"


def test_a_fetched_version_is_not_downloaded_again(tracking_uri: str, tmp_path: Path) -> None:
    version = _register(tracking_uri, tmp_path, "cached", "beta")
    registry = _registry(tracking_uri, tmp_path / "cache", "beta")
    first = registry.fetch(version)
    (first.path / "weights.txt").write_text("marked")
    assert (registry.fetch(version).path / "weights.txt").read_text() == "marked"


def test_the_champion_fetched_last_is_remembered_beside_its_copy(tracking_uri: str, tmp_path: Path) -> None:
    registry = _registry(tracking_uri, tmp_path / "cache", "eta")
    first, second = (_register(tracking_uri, tmp_path, text, "eta") for text in ("one", "two"))
    for champion in (first, second, first):
        registry.set_champion(champion)
        fetched = registry.fetch()
        registry.fetch(second)
        assert kept_copy(tmp_path / "cache", name=model_name(DistrictId("eta"))) == fetched


def test_an_unknown_version_is_refused(tracking_uri: str, tmp_path: Path) -> None:
    registry = _registry(tracking_uri, tmp_path / "cache", "gamma")
    with pytest.raises(NotFoundError):
        registry.set_champion(ModelVersion("99"))


def test_a_failed_run_is_marked_failed(tracking_uri: str, tmp_path: Path) -> None:
    opened = []

    def fail() -> None:
        with tracked_run(
            tracking_uri, experiment="failing", run_name="t", artifact_root=tmp_path, clock=_Clock()
        ) as run:
            opened.append(run)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert opened[0].client.get_run(opened[0].run_id).info.status == "FAILED"


def test_an_unreachable_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = _registry("http://127.0.0.1:9", tmp_path)
    with pytest.raises(DependencyDownError) as caught:
        registry.champion()
    assert caught.value.dependency == "model registry"


def _register_in_process(uri: str, root: str, text: str) -> None:
    _register(uri, Path(root), text, "shared")


def test_two_processes_register_at_once(tracking_uri: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_register_in_process, args=(tracking_uri, str(tmp_path), text)) for text in ("a", "b")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(_registry(tracking_uri, tmp_path / "cache", "shared").versions()) == ["1", "2"]


def test_the_champion_before_is_kept_as_previous(tracking_uri: str, tmp_path: Path) -> None:
    registry = _registry(tracking_uri, tmp_path / "cache", "delta")
    first, second = (_register(tracking_uri, tmp_path, text, "delta") for text in ("one", "two"))
    assert registry.alias("previous") is None
    registry.set_champion(first)
    assert registry.alias("previous") is None
    registry.set_champion(first)
    assert registry.alias("previous") is None
    registry.set_champion(second)
    assert (registry.champion(), registry.alias("previous")) == (second, first)


def test_aliases_are_set_and_taken_away_by_themselves(tracking_uri: str, tmp_path: Path) -> None:
    registry = _registry(tracking_uri, tmp_path / "cache", "epsilon")
    version = _register(tracking_uri, tmp_path, "one", "epsilon")
    registry.set_alias("challenger", version)
    assert (registry.alias("challenger"), registry.champion()) == (version, None)
    registry.set_alias("challenger", None)
    assert registry.alias("challenger") is None
    with pytest.raises(NotFoundError):
        registry.set_alias("challenger", ModelVersion("77"))


def test_tags_and_texts_are_kept_with_a_version(tracking_uri: str, tmp_path: Path) -> None:
    registry = _registry(tracking_uri, tmp_path / "cache", "zeta")
    version = _register(tracking_uri, tmp_path, "one", "zeta")
    registry.set_tags(version, {"promotion.by": "ada", "promotion.reason": "x" * 9000})
    tags = registry.describe(version).tags
    assert tags["promotion.by"] == "ada"
    assert len(tags["promotion.reason"]) == 5000
    assert registry.read_text(version, "card.html") is None
    assert registry.read_text(version, "promotion/verdict.json") is None
    registry.write_text(version, "card.html", "<p>")
    registry.write_text(version, "promotion/verdict.json", "{}")
    registry.write_text(version, "promotion/verdict.json", "{1}")
    assert registry.read_text(version, "card.html") == "<p>"
    assert registry.read_text(version, "promotion/verdict.json") == "{1}"


def test_registered_models_are_shown_with_card_and_report_and_without_mlflows_own_tags(
    tracking_uri: str, tmp_path: Path
) -> None:
    first = _register(tracking_uri, tmp_path, "bare", "shown")
    second = _register(tracking_uri, tmp_path, "carded", "shown")
    registry = _registry(tracking_uri, tmp_path / "cache", "shown")
    registry.set_champion(first)
    registry.set_champion(second)
    registry.write_text(second, "evaluation/model-card.html", "<h1>Card</h1>")
    registry.write_text(second, "evaluation/evaluation.json", '{"title": "Report"}')
    opened: list[ModelRegistry] = []

    def open_registry() -> ModelRegistry:
        opened.append(_registry(tracking_uri, tmp_path / "cache", "shown"))
        return opened[-1]

    async def work() -> None:
        models = RegisteredModels(open_registry, timeout_s=60)
        listed = await models.list(limit=5)
        assert [(model.version, model.aliases) for model in listed] == [(second, ("champion",)), (first, ("previous",))]
        assert len(await models.list(limit=1)) == 1
        described = await models.describe(second)
        assert described == listed[0]
        assert described.tags == {"git_commit": "abc", "contract": "c"}
        assert described.metrics["loss"] == pytest.approx(1 / 3)
        assert await models.card(second) == "<h1>Card</h1>"
        assert await models.report(second) == {"title": "Report"}
        assert await models.report(first) is None
        with pytest.raises(NotFoundError, match="without a model card"):
            await models.card(first)
        for ask in (models.describe, models.card, models.report):
            with pytest.raises(NotFoundError, match="no model of the version") as told:
                await ask(ModelVersion("99"))
            assert "MLflow" not in str(told.value)

    asyncio.run(work())
    assert len(opened) == 1
