"""How a replica completes its arguments, where the token comes from, what logs and metrics keep."""

import asyncio
import io
import json
import logging
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import structlog
from pydantic import ValidationError

from deployments.answers import decode_prediction, encode_prediction
from deployments.messages import HopFailure, ServedModel
from deployments.pipeline import translated
from deployments.readiness import ReplicaReadiness
from deployments.settings import AppArgs, SettingMissingError, complete, token_hash, training_placement
from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import ContractMismatchError, DependencyDownError, TooManyRequestsError
from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import AttentionWeek, Coverage, Prediction, Reason
from edupulse_ml.security.tokens import (
    TokenMissingError,
    ensure_token,
    hash_token,
    make_token,
    read_token,
    token_matches,
    token_path,
    write_token_file,
)
from edupulse_ml.telemetry.logs import MASK, configure_logs
from edupulse_ml.telemetry.metrics import merge_expositions

SERVERS = {"database_url": "postgresql://d", "redis_url": "redis://r", "mlflow_tracking_uri": "sqlite:///m"}


def settings(**values: object) -> Settings:
    return Settings(**{"token": None, **values})  # pyright: ignore[reportArgumentType]


def test_arguments_win_over_the_environment_of_the_replica() -> None:
    config = complete(AppArgs(district="north", cache_ttl_s=0, window_weeks=12), settings(**SERVERS, district="south"))
    assert (config.district, config.cache_ttl_s, config.contract.window_weeks) == ("north", 0, 12)
    assert (config.database_url, config.redis_url) == ("postgresql://d", "redis://r")
    assert complete(AppArgs(), settings(**SERVERS)).cache_ttl_s == 3600


def test_a_training_job_is_told_what_the_arguments_name_and_has_the_rest_from_its_node() -> None:
    placement = training_placement(complete(AppArgs(), settings(**SERVERS, district="south")))
    assert placement.environment == {"EDUPULSE_DISTRICT": "south", "EDUPULSE_WINDOW_WEEKS": "20"}
    assert placement.num_cpus == 0
    args = AppArgs(home=Path("/srv/edupulse"), database_url="postgresql://x", window_weeks=12, training_cpus=2)
    told = training_placement(complete(args, settings(**SERVERS)))
    assert told.environment["EDUPULSE_HOME"] == "/srv/edupulse"
    assert told.environment["EDUPULSE_DATABASE_URL"] == "postgresql://x"
    assert told.environment["EDUPULSE_WINDOW_WEEKS"] == "12"
    assert told.num_cpus == 2


@pytest.mark.parametrize("missing", SERVERS)
def test_a_server_that_nobody_names_is_asked_for(missing: str) -> None:
    with pytest.raises(SettingMissingError, match=missing.upper()):
        complete(AppArgs(), settings(**{**SERVERS, missing: None}))


def test_unknown_arguments_and_clear_tokens_are_refused() -> None:
    for wrong in ({"max_batch": 3}, {"token": "x"}, {"token_sha256": "not-a-hash"}, {"max_batch_size": 0}):
        with pytest.raises(ValidationError):
            AppArgs.model_validate(wrong)


def test_the_token_hash_comes_from_arguments_environment_or_file(tmp_path: Path) -> None:
    given = hash_token("given")
    assert token_hash(AppArgs(token_sha256=given), settings(token="other")) == given
    assert token_hash(AppArgs(), settings(token="other")) == hash_token("other")
    write_token_file(tmp_path, "filed")
    assert token_hash(AppArgs(), settings(home=tmp_path)) == hash_token("filed")
    with pytest.raises(TokenMissingError):
        token_hash(AppArgs(), settings(home=tmp_path / "nowhere"))


def test_a_token_is_random_private_and_replaced_as_a_whole(tmp_path: Path) -> None:
    assert make_token() != make_token()
    assert len(make_token()) >= 40
    for token in ("first", "second"):
        path = write_token_file(tmp_path / "home", token)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert read_token(tmp_path / "home", given=None) == token
    assert [item.name for item in (tmp_path / "home").iterdir()] == ["token"]
    assert read_token(tmp_path / "home", given="environment") == "environment"


def test_two_processes_that_make_a_token_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: ensure_token(tmp_path / "home"), range(16)))
    assert len(tokens) == 1
    assert stat.S_IMODE(token_path(tmp_path / "home").stat().st_mode) == 0o600
    assert [item.name for item in (tmp_path / "home").iterdir()] == ["token"]


def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    write_token_file(tmp_path, "")
    with pytest.raises(TokenMissingError, match="empty"):
        read_token(tmp_path, given=None)


def test_tokens_are_compared_by_hash() -> None:
    assert token_matches("secret", hash_token("secret"))
    assert token_matches("secret", hash_token("secret").upper())
    assert not token_matches("secret ", hash_token("secret"))


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(level="INFO", log_format="json", stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def test_logs_are_json_and_mask_what_is_not_allowed(stream: io.StringIO) -> None:
    structlog.get_logger("x").info("scored", students=3, student_id="S1", score=0.7, seconds=0.1)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["students"], line["seconds"]) == ("scored", 3, 0.1)
    assert (line["student_id"], line["score"]) == (MASK, MASK)
    assert "S1" not in stream.getvalue()
    assert line["timestamp"].endswith("Z")


def test_an_errors_message_stays_out_of_the_logs(stream: io.StringIO) -> None:
    try:
        int("student S1")
    except ValueError:
        structlog.get_logger().exception("import failed")
        logging.getLogger("library").exception("library failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["error_type"] == second["error_type"] == "ValueError"
    assert "S1" not in stream.getvalue()


def test_levels_below_the_chosen_one_are_silent(stream: io.StringIO) -> None:
    structlog.get_logger().debug("quiet")
    logging.getLogger("library").debug("quiet")
    logging.getLogger("library").warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def exposition(node: str, value: int) -> str:
    labels = f'{{Version="2.60",node="{node}"}}'
    return (
        f"# HELP ray_edupulse_answers_total Answers.\n# TYPE ray_edupulse_answers_total counter\n"
        f"ray_edupulse_answers_total{labels} {value}.0\n"
        f"# HELP ray_other Other.\n# TYPE ray_other gauge\nray_other{labels} 1.0\n"
        f"# HELP ray_edupulse_seconds Seconds.\n# TYPE ray_edupulse_seconds histogram\n"
        f'ray_edupulse_seconds_bucket{{le="1.0",node="{node}"}} 2.0\n'
        f'ray_edupulse_seconds_bucket{{le="+Inf",node="{node}"}} 3.0\n'
        f'ray_edupulse_seconds_sum{{node="{node}"}} 2.5\nray_edupulse_seconds_count{{node="{node}"}} 3.0\n'
    )


def test_nodes_are_merged_into_one_exposition() -> None:
    merged = merge_expositions(
        [exposition("b", 2), exposition("a", 1), exposition("a", 1)],
        prefixes=["ray_edupulse_"],
        drop_labels=["Version"],
    )
    lines = merged.splitlines()
    assert lines.count("# TYPE ray_edupulse_answers_total counter") == 1
    assert 'ray_edupulse_answers_total{node="a"} 1.0' in lines
    assert 'ray_edupulse_answers_total{node="b"} 2.0' in lines
    assert sum(line.startswith("ray_edupulse_answers_total{") for line in lines) == 2
    assert 'ray_edupulse_seconds_bucket{le="+Inf",node="a"} 3.0' in lines
    assert "ray_other" not in merged
    assert merge_expositions([merged], prefixes=["ray_edupulse_"]) == merged
    assert merge_expositions([], prefixes=["x"]) == ""


def test_serves_errors_become_ours() -> None:
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

    busy = translated(BackPressureError(5, 4, retry_after_s=2.5))
    assert isinstance(busy, TooManyRequestsError)
    assert busy.retry_after_s == 2.5
    gone = translated(DeploymentUnavailableError.__new__(DeploymentUnavailableError))
    assert isinstance(gone, DependencyDownError)
    assert gone.dependency == "ray serve"


def test_a_hops_failure_becomes_the_error_of_its_family() -> None:
    down = HopFailure("PostgreSQL did not answer.", "postgresql").error()
    assert isinstance(down, DependencyDownError)
    assert down.dependency == "postgresql"
    assert isinstance(HopFailure("Contracts differ.", None).error(), ContractMismatchError)


def test_readiness_bounds_a_server_that_hangs_and_survives_one_that_breaks() -> None:
    async def hangs() -> None:
        await asyncio.sleep(30)

    async def breaks() -> None:
        raise RuntimeError("student S1")

    async def served() -> ServedModel:
        return ServedModel("champion", ModelVersion("1"), "p", "f", None, None)

    async def answers() -> None: ...

    readiness = ReplicaReadiness(database=hangs, cache=breaks, fetcher=answers, served=served, timeout_s=0.05)
    missing = asyncio.run(readiness.missing())
    assert [item.name for item in missing] == ["postgresql", "redis"]
    assert "0.05 seconds" in missing[0].message
    assert "S1" not in missing[1].message


PREDICTION = Prediction(
    prediction_id=PredictionId("id"),
    student_id=StudentId("S1"),
    as_of=datetime(2025, 3, 3, 12, 0, 0, 5, tzinfo=UTC),
    created_at=datetime(2025, 3, 3, 12, tzinfo=UTC),
    feature_week=date(2025, 2, 24),
    model_version=ModelVersion("3"),
    policy_version="p",
    risk_score=0.1 + 0.2,
    risk_60plus=1e-17,
    category="low",
    coverage=Coverage(1.0, 0.5, 0.0, 20),
    reasons=(Reason("c", 'té"xt', -0.1),),
    protective_factors=(),
    attention_weeks=(AttentionWeek(date(2025, 2, 24), 0.3),),
)


def test_a_prediction_survives_the_cache() -> None:
    assert decode_prediction(encode_prediction(PREDICTION)) == PREDICTION


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"prediction_id": "x"}', b"\xff", b"null"])
def test_bytes_of_another_release_are_a_miss(data: bytes) -> None:
    assert decode_prediction(data) is None
