"""Scoring a whole district: the same answers from and to PostgreSQL and Parquet, each stored once, whatever happens."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from edupulse_ml.core.errors import ConflictError, InvalidInputError, NotFoundError
from edupulse_ml.core.predictions import InsufficientData, Prediction
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.core.sufficiency import SufficiencyPolicy, coverage_of, what_is_missing
from edupulse_ml.core.weeks import local_day
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from jobs.bulk import score_runs
from jobs.bulk.score_runs import DistrictScores, ScoreRequest
from jobs.bulk.store_windows import AsOf
from jobs.bulk.stores import BulkStores, address_of, open_stores
from jobs.materialise import MaterialiseRequest, materialise_district
from jobs.windows import latest_windows_of
from jobs.wiring import open_context
from tests.fakes.clocks import FixedClock
from tests.fakes.scored_district import ScoredDistrict, make_artifact, make_district, register_champion
from tests.fakes.store_world import NOW

STUDENTS = 46
LEFT = 4
NEW = 4
ZONE = "America/New_York"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    register_champion(uri, folder)
    return uri, folder


@pytest.fixture
def district(database_urls, redis_server, registry, monkeypatch: pytest.MonkeyPatch) -> ScoredDistrict:
    monkeypatch.setattr(score_runs, "STUDENTS_PER_CHUNK", 10)
    monkeypatch.setattr(score_runs, "STUDENTS_PER_FILE", 10)
    uri, home = registry
    return make_district(database_urls, redis_server.url, uri=uri, home=home, students=STUDENTS)


def score(district: ScoredDistrict, **request) -> DistrictScores:
    return asyncio.run(
        score_runs.score(
            district.settings,
            ScoreRequest(**{"place": "here", "top": 100, **request}),
            clock=FixedClock(NOW),
            console=Console(quiet=True),
        )
    )


def export(district: ScoredDistrict, folder: Path, **request) -> int:
    summary = asyncio.run(
        materialise_district(
            district.settings,
            as_of=NOW,
            clock=FixedClock(NOW),
            console=Console(quiet=True),
            request=MaterialiseRequest(target=folder, place="here", **request),
        )
    )
    return summary.students_exported


def stored(district: ScoredDistrict) -> dict[str, float]:
    rows = district.world.rows("SELECT student_id, risk_score FROM predictions JOIN students USING (student_key)")
    assert len({row["student_id"] for row in rows}) == len(rows), "a student was scored twice"
    return {str(row["student_id"]): float(str(row["risk_score"])) for row in rows}


async def one_by_one(district: ScoredDistrict) -> list[Prediction | InsufficientData]:
    """What `deployments` and the first release of this job say of each enrolled student, one object at a time."""
    artifact, policy = make_artifact(), SufficiencyPolicy()
    as_of = AsOf(NOW, ZONE)
    answers = []
    async with open_context(district.settings, clock=FixedClock(NOW)) as context, open_stores(address_of(context)) as s:
        for key, student_id in await _enrolled(s):
            batch = await latest_windows_of(s, [key], through_week=as_of.through_week, zone=as_of.zone)
            scores, (coverage,) = artifact.score(batch), coverage_of(batch)
            last = int(batch.week[0, coverage.weeks - 1])
            age = local_day(NOW, as_of.zone) - (last + CUTOFF_DAYS_AFTER_MONDAY)
            missing = what_is_missing(coverage, feature_age_days=age, policy=policy)
            if missing:
                answers.append(InsufficientData(student_id, NOW, missing, coverage))
                continue
            risk = float(scores.risk_score[0])
            answers.append(
                Prediction(
                    prediction_id="",
                    student_id=student_id,
                    as_of=NOW,
                    created_at=NOW,
                    feature_week=date.fromordinal(date(1970, 1, 1).toordinal() + last),
                    model_version="1",
                    policy_version=artifact.policy.version,
                    risk_score=risk,
                    risk_60plus=float(scores.risk_60plus[0]),
                    category=artifact.policy.categorise(risk),
                    coverage=coverage,
                )
            )
    return answers


async def _enrolled(stores: BulkStores) -> list:
    keys = await stores.reader.all_student_keys()
    names = await stores.reader.student_ids(keys)
    return [pair for pair in zip(keys, names, strict=True) if int(pair[1][1:]) % 11 != 5 or int(pair[1][1:]) % 10 == 9]


def test_every_enrolled_student_is_scored_stored_and_audited_as_one_by_one(district: ScoredDistrict) -> None:
    result = score(district)
    expected = asyncio.run(one_by_one(district))
    predicted = {answer.student_id: answer for answer in expected if isinstance(answer, Prediction)}
    assert (result.scored, result.insufficient) == (len(predicted), NEW) == (STUDENTS - LEFT - NEW, NEW)
    assert [p.student_id for p in result.predictions] == sorted(
        predicted, key=lambda name: predicted[name].risk_score, reverse=True
    )
    for found in result.predictions:
        wanted = predicted[found.student_id]
        for field in ("as_of", "feature_week", "model_version", "policy_version", "category", "coverage"):
            assert getattr(found, field) == getattr(wanted, field)
        assert found.risk_score == pytest.approx(wanted.risk_score, abs=1e-6)
        assert found.risk_60plus == pytest.approx(wanted.risk_60plus, abs=1e-6)
        assert (found.reasons, found.protective_factors, found.attention_weeks) == (None, None, ())
    audited = district.world.rows(
        "SELECT outcome, count(*) AS n, count(prediction_id) AS named, min(actor) AS actor, min(action) AS action"
        " FROM audit_log GROUP BY outcome ORDER BY outcome"
    )
    told = {"actor": "job:score", "action": "score"}
    assert audited == [
        {"outcome": "insufficient_data", "n": NEW, "named": 0, **told},
        {"outcome": "scored", "n": len(predicted), "named": len(predicted), **told},
    ]


def test_scoring_again_adds_nothing_until_something_is_imported_or_it_is_asked_for(district: ScoredDistrict) -> None:
    first = score(district)
    assert score(district).predictions == first.predictions
    assert len(stored(district)) == first.scored
    count = "SELECT count(*) FROM predictions"
    assert score(district, again=True).scored == first.scored
    assert district.world.values(count) == [2 * first.scored]
    day = {"student_id": "s000", "date": "2025-05-28", "status": "absent_unexcused"}
    district.world.load_one("attendance_records", day)
    assert score(district).scored == first.scored
    assert district.world.values(count) == [3 * first.scored]


def test_two_at_once_score_every_student_once(district: ScoredDistrict) -> None:
    async def both() -> list[DistrictScores]:
        request = ScoreRequest(place="here")
        return await asyncio.gather(
            *(
                score_runs.score(district.settings, request, clock=FixedClock(NOW), console=Console(quiet=True))
                for _ in range(2)
            )
        )

    first, second = asyncio.run(both())
    assert first == second
    assert len(stored(district)) == first.scored
    assert district.world.values("SELECT count(*) FROM scoring_runs") == [1]


KILLED = """
import asyncio, sys
from jobs.bulk import score_runs, scoring
from jobs.bulk.score_runs import ScoreRequest
from edupulse_ml.config.settings import Settings
from rich.console import Console
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import NOW
from pathlib import Path

score_runs.STUDENTS_PER_CHUNK = score_runs.STUDENTS_PER_FILE = 10
finished = 0
do = scoring.Scorer.do

async def do_two(self, chunk):
    global finished
    if finished == 2:
        print("two", flush=True)
        await asyncio.sleep(600)
    done = await do(self, chunk)
    finished += 1
    return done

scoring.Scorer.do = do_two
settings = Settings.model_validate_json(sys.argv[1])
target = Path(sys.argv[2]) if sys.argv[2] else None
request = ScoreRequest(place="here", target=target)
asyncio.run(score_runs.score(settings, request, clock=FixedClock(NOW), console=Console(quiet=True)))
"""


def kill_after_two_chunks(district: ScoredDistrict, target: Path | None) -> None:
    arguments = [district.settings.model_dump_json(), str(target or "")]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "two\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()


def test_a_killed_run_is_continued_with_the_chunks_that_it_lacks(district: ScoredDistrict) -> None:
    kill_after_two_chunks(district, None)
    before = stored(district)
    assert 0 < len(before) <= 20
    result = score(district)
    after = stored(district)
    assert len(after) == result.scored == STUDENTS - LEFT - NEW
    assert before.items() <= after.items()
    assert district.world.values("SELECT count(*) FROM scoring_runs") == [1]
    assert district.world.values("SELECT count(DISTINCT created_at) FROM predictions") == [5]
    assert district.world.values("SELECT count(*) FROM audit_log") == [STUDENTS - LEFT]
    assert len(result.predictions) == result.scored


def test_a_killed_run_into_a_folder_is_continued_with_the_files_that_it_lacks(
    district: ScoredDistrict, tmp_path: Path
) -> None:
    folder = tmp_path / "scores"
    kill_after_two_chunks(district, folder)
    before = {file.name: file.stat().st_ino for file in folder.glob("*.parquet")}
    assert 2 <= len(before) < 5
    result = score(district, target=folder)
    after = {file.name: file.stat().st_ino for file in folder.glob("*.parquet")}
    assert len(after) == 5
    assert before.items() <= after.items()
    assert [file.name for file in folder.iterdir() if file.name.endswith(".unfinished")] == []
    fresh = score(district, target=tmp_path / "fresh")
    assert (result.scored, result.predictions) == (fresh.scored, fresh.predictions)


def test_parquet_to_parquet_says_what_postgresql_to_postgresql_says(district: ScoredDistrict, tmp_path: Path) -> None:
    in_store = score(district)
    assert export(district, tmp_path / "windows") == STUDENTS - LEFT
    in_files = score(district, source=tmp_path / "windows", target=tmp_path / "scores")
    assert (in_files.scored, in_files.insufficient) == (in_store.scored, in_store.insufficient)
    for found, wanted in zip(in_files.predictions, in_store.predictions, strict=True):
        for field in ("student_id", "category", "feature_week", "coverage", "as_of", "model_version"):
            assert getattr(found, field) == getattr(wanted, field)
        assert found.risk_score == pytest.approx(wanted.risk_score, abs=1e-6)
        assert found.risk_60plus == pytest.approx(wanted.risk_60plus, abs=1e-6)
    rows = pq.read_table(tmp_path / "scores").to_pylist()
    assert sum(row["risk_score"] is None for row in rows) == sum(row["category"] is None for row in rows) == NEW


def test_postgresql_to_parquet_and_parquet_to_postgresql_say_the_same(district: ScoredDistrict, tmp_path: Path) -> None:
    export(district, tmp_path / "windows")
    out = score(district, target=tmp_path / "scores")
    assert stored(district) == {}
    back = score(district, source=tmp_path / "windows")
    risks = stored(district)
    assert len(risks) == out.scored == back.scored
    for found in out.predictions:
        assert found.risk_score == pytest.approx(risks[found.student_id], abs=1e-6)
    assert district.world.values("SELECT outcome FROM audit_log WHERE action = 'score_to_folder'") == [
        f"{out.scored} students"
    ]


def test_a_folder_of_windows_with_an_unknown_student_is_refused(
    district: ScoredDistrict, tmp_path: Path, postgres, redis_server, registry
) -> None:
    export(district, tmp_path / "windows")
    uri, home = registry
    smaller = make_district(postgres.create(), redis_server.url, uri=uri, home=home, students=STUDENTS - 1)
    with pytest.raises(NotFoundError, match="names 1 students of a chunk whom the district does not have"):
        score(smaller, source=tmp_path / "windows")
    assert stored(smaller) == {}


def test_an_unfinished_folder_of_windows_is_refused_and_completed(district: ScoredDistrict, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds no feature windows"):
        score(district, source=tmp_path / "windows", target=tmp_path / "scores")
    export(district, tmp_path / "windows")
    files = {file.name: file.stat().st_ino for file in (tmp_path / "windows").glob("*.parquet")}
    assert export(district, tmp_path / "windows") == STUDENTS - LEFT
    assert {file.name: file.stat().st_ino for file in (tmp_path / "windows").glob("*.parquet")} == files
    district.world.load_one("attendance_records", {"student_id": "s000", "date": "2025-05-28", "status": "present"})
    with pytest.raises(ConflictError, match="last_import"):
        export(district, tmp_path / "windows")
    export(district, tmp_path / "windows", again=True)


def test_a_folder_that_holds_scores_of_other_windows_is_refused(district: ScoredDistrict, tmp_path: Path) -> None:
    export(district, tmp_path / "windows")
    score(district, source=tmp_path / "windows", target=tmp_path / "scores")
    make_artifact(seed=4).save(tmp_path / "model")
    with pytest.raises(ConflictError, match="model_digest, model_version"):
        score(district, source=tmp_path / "windows", target=tmp_path / "scores", model=tmp_path / "model")
    again = score(
        district, source=tmp_path / "windows", target=tmp_path / "scores", model=tmp_path / "model", again=True
    )
    assert again.model_version == "model"
    with pytest.raises(InvalidInputError, match="--to"):
        score(district, model=tmp_path / "model")


def test_windows_are_the_same_stored_whole_week_by_week_or_not_at_all(district: ScoredDistrict) -> None:
    score(district)
    as_of = AsOf(NOW, ZONE)

    async def read(through_week: int) -> SequenceBatch:
        async with open_context(district.settings, clock=FixedClock(NOW)) as c, open_stores(address_of(c)) as stores:
            keys = list(reversed(await stores.reader.all_student_keys()))
            return await latest_windows_of(stores, keys, through_week=through_week, zone=as_of.zone)

    def same(left: SequenceBatch, right: SequenceBatch) -> None:
        for name in ("values", "support", "mask", "aux", "context", "week", "grade_level"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)

    whole = asyncio.run(read(as_of.through_week))
    assert whole.n_examples == STUDENTS
    keys = "SELECT student_key FROM students WHERE student_id"
    with psycopg.connect(district.world.urls.admin_url, autocommit=True) as connection:
        connection.execute(f"DELETE FROM feature_windows WHERE student_key IN ({keys} IN ('s001', 's012'))")
        connection.execute(f"DELETE FROM feature_states WHERE student_key IN ({keys} IN ('s003', 's040'))")
    same(asyncio.run(read(as_of.through_week)), whole)
    with psycopg.connect(district.world.urls.admin_url, autocommit=True) as connection:
        connection.execute("DELETE FROM feature_windows")
    same(asyncio.run(read(as_of.through_week)), whole)
    with psycopg.connect(district.world.urls.admin_url, autocommit=True) as connection:
        connection.execute("DELETE FROM feature_states")
    same(asyncio.run(read(as_of.through_week)), whole)
