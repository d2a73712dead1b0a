"""Predictions computed again, and what moved them, over real PostgreSQL, Redis and MLflow; no Ray."""

import asyncio
import dataclasses
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from rich.console import Console

from deployments.change_messages import ChangeUnknownError, ExplainedChange
from deployments.settings import AppArgs, complete
from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import DistrictId, ModelVersion, PredictionId, StudentId
from edupulse_ml.core.predictions import Prediction
from edupulse_ml.registry.models import ModelRegistry, model_name
from edupulse_ml.registry.tracking import tracked_run
from jobs.bulk import score_runs
from jobs.bulk.score_runs import ScoreRequest
from jobs.replay import replay_predictions
from jobs.replaying import Replayed
from tests.fakes.clocks import FixedClock
from tests.fakes.scored_district import make_artifact, make_district
from tests.fakes.store_world import NOW, World
from tests.fakes.stored_serving import Opened, Place

STUDENT = "s"
LAST = date(2025, 5, 30)
FIRST_TUESDAY = datetime(2025, 5, 6, 15, tzinfo=UTC)
"""The week that closed before is that of 28 April."""
WEEK = timedelta(days=7)


def school_days(first: date, last: date = LAST) -> list[date]:
    days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
    return [day for day in days if day.weekday() < 5]


def attendance(days: list[date], *, absent_every: int) -> list[dict[str, object]]:
    return [
        {
            "student_id": STUDENT,
            "date": day.isoformat(),
            "status": "absent_unexcused" if position % absent_every == 0 else "present",
        }
        for position, day in enumerate(days)
    ]


def registry_of(settings: Settings) -> ModelRegistry:
    assert settings.mlflow_tracking_uri is not None
    return ModelRegistry(
        settings.mlflow_tracking_uri, name=model_name(DistrictId("demo")), cache_dir=settings.home / "models"
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A registry with the versions 1 and 2, of other weights."""
    folder = tmp_path_factory.mktemp("registry")
    settings = Settings(home=folder, mlflow_tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", district="demo")
    registry = registry_of(settings)
    for seed in (3, 5):
        make_artifact(seed=seed).save(folder / f"artifact-{seed}")
        with tracked_run(
            settings.mlflow_tracking_uri or "", experiment="e", run_name="r", artifact_root=folder / "runs",
            clock=FixedClock(FIRST_TUESDAY),
        ) as run:  # fmt: skip
            registry.register(folder / f"artifact-{seed}", run, tags={})
    return settings


class School:
    """One student's records over the weeks, and predictions between imports."""

    def __init__(self, urls, redis_url: str, settings: Settings) -> None:
        self.world = World(urls)
        self.settings = settings.model_copy(update={"database_url": urls.app_url, "redis_url": redis_url})
        self.place = Place(self.world, complete(AppArgs(), self.settings))
        self.registry = registry_of(settings)
        self.registry.set_champion(ModelVersion("1"))

    def begin(self, first: date) -> None:
        """The student enters on `first`; records up to Friday 2 May are imported on the Monday after."""
        self.at(FIRST_TUESDAY - timedelta(days=1))
        self.world.load(
            {
                "schools": [{"school_id": "north"}],
                "calendar": [
                    {
                        "school_id": "north", "date": day.isoformat(), "is_instructional": True, "term_id": "t",
                        "school_year": 2024,
                    }
                    for day in school_days(first)
                ],
                "students": [{"student_id": STUDENT, "birth_date": "2009-03-01"}],
                "enrollments": [
                    {"student_id": STUDENT, "school_id": "north", "grade_level": 10, "entry_date": first.isoformat()}
                ],
                "attendance_records": attendance(school_days(first, date(2025, 5, 2)), absent_every=4),
            }
        )  # fmt: skip
        self.at(FIRST_TUESDAY)

    def at(self, moment: datetime) -> None:
        self.world.clock.moment = moment

    def next_week(self, *, absent_every: int = 2) -> None:
        """A week later, with that week's attendance imported on the Monday."""
        monday = self.world.clock.moment.date() - timedelta(days=1)
        self.at(self.world.clock.moment + WEEK - timedelta(days=1))
        days = school_days(monday, monday + timedelta(days=4))
        self.world.load({"attendance_records": attendance(days, absent_every=absent_every)})
        self.at(self.world.clock.moment + timedelta(days=1))

    def predict(self) -> Prediction:
        """Computed after the cache was dropped, as an import does, and out of the cache the second time."""

        async def work(opened: Opened) -> Prediction:
            await opened.stores.cache.drop([StudentId(STUDENT)])
            (first,), (second,) = await opened.ask(STUDENT), await opened.ask(STUDENT)
            assert isinstance(first, Prediction)
            assert second == first
            return first

        return self.place.serve(work)

    def changes(self, *, since: str | None = None) -> ExplainedChange:
        return self.place.serve(
            lambda opened: opened.what_changed(STUDENT, since=PredictionId(since) if since else None)
        )

    def replay(self, *predictions: Prediction) -> list[Replayed]:
        return asyncio.run(
            replay_predictions(
                self.settings,
                [prediction.prediction_id for prediction in predictions],
                sample=0,
                seed=0,
                clock=self.world.clock,
            )
        )


@pytest.fixture
def school(database_urls, redis_server, models: Settings) -> School:
    return School(database_urls, redis_server.url, models)


def parts_of(found: ExplainedChange) -> dict[str, float]:
    """Logits by part; they must sum to the move of the stored scores."""
    moves = {part.part: part.logit for part in found.change.parts}
    assert set(moves) == {"new_records", "left_window", "corrected_records", "new_model"}
    move = logit(found.after.risk_score) - logit(found.before.risk_score)
    assert sum(moves.values()) == pytest.approx(move, abs=1e-5)
    shift = sum(part.probability for part in found.change.parts)
    assert shift == pytest.approx(found.after.risk_score - found.before.risk_score, abs=1e-6)
    return moves


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def only(moves: dict[str, float], *names: str) -> None:
    """Only these parts moved the score; the others are exactly 0."""
    assert {name for name, move in moves.items() if move != 0} == set(names)


def test_a_new_week_is_all_of_the_move_while_the_window_still_grows(school: School) -> None:
    school.begin(date(2025, 2, 3))
    before = school.predict()
    school.next_week()
    after = school.predict()
    found = school.changes()
    assert (found.before, found.after) == (before, after)
    only(parts_of(found), "new_records")
    new = found.change.parts[0]
    assert new.weeks == 1
    assert {item.outcome for item in school.replay(before, after)} == {"same"}


def test_what_the_challenger_said_in_the_shadow_is_computed_again_too(school: School) -> None:
    school.begin(date(2025, 2, 3))
    answered = school.predict()
    school.registry.set_champion(ModelVersion("2"))
    said = school.predict()
    assert said.risk_score != answered.risk_score
    ids = {"as computed": str(uuid4()), "another score": str(uuid4())}
    for (name, prediction_id), seconds in zip(ids.items(), (1, 2), strict=True):
        school.world.execute(
            "SELECT ensure_partitions('shadow_predictions', DATE '2025-05-01', DATE '2025-05-01');"
            "INSERT INTO shadow_predictions (prediction_id, beside_prediction_id, challenge_id, student_key, as_of,"
            " created_at, feature_week, model_version, policy_version, risk_score, risk_60plus, category,"
            " answered_version, answered_risk_score, answered_risk_60plus, answered_category, district_id)"
            f" SELECT '{prediction_id}', '{answered.prediction_id}', gen_random_uuid(), student_key, as_of,"
            f" created_at + interval '{seconds} seconds', feature_week, model_version, policy_version,"
            f" risk_score * {1.0 if name == 'as computed' else 0.9}, risk_60plus, category, '1', .5, .5, category,"
            " district_id"
            f" FROM predictions WHERE prediction_id = '{said.prediction_id}'"
        )
    shadows = [dataclasses.replace(said, prediction_id=PredictionId(each)) for each in ids.values()]
    again, other = school.replay(*shadows)
    assert (again.outcome, again.prediction.model_version) == ("same", "2")
    assert other.outcome == "differs"
    assert other.told[0].startswith("risk_score")


def test_a_week_that_leaves_a_full_window_is_a_part_of_its_own(school: School) -> None:
    school.begin(date(2024, 11, 4))
    school.predict()
    school.next_week()
    school.next_week()
    school.predict()
    found = school.changes()
    only(parts_of(found), "new_records", "left_window")
    assert [part.weeks for part in found.change.parts] == [2, 2, 0, 0]


def test_a_correction_that_claims_to_have_been_known_is_all_of_the_move_within_the_week(school: School) -> None:
    school.begin(date(2025, 2, 3))
    before = school.predict()
    school.at(FIRST_TUESDAY + timedelta(hours=3))
    corrected = {
        "student_id": STUDENT, "date": "2025-04-30", "status": "absent_unexcused",
        "recorded_at": "2025-05-02T12:00:00+00:00",
    }  # fmt: skip
    school.world.load_one("attendance_records", corrected)
    after = school.predict()
    assert after.risk_score != before.risk_score
    only(parts_of(school.changes()), "corrected_records")
    assert {item.outcome for item in school.replay(before, after)} == {"same"}


def test_corrections_and_late_records_are_told_apart_from_what_is_new(school: School) -> None:
    school.begin(date(2025, 2, 3))
    before = school.predict()
    school.next_week()
    school.predict()
    plain = parts_of(school.changes())
    school.at(school.world.clock.moment + timedelta(hours=1))
    known = {"student_id": STUDENT, "recorded_at": "2025-05-10T12:00:00+00:00"}
    school.world.load(
        {
            "attendance_records": [known | {"date": "2025-04-29", "status": "absent_unexcused"}],
            "discipline_incidents": [
                known | {
                    "incident_id": "i1", "incident_date": "2025-04-15", "behavior_code": "fight", "is_objective": True,
                    "severity": 4, "is_major": True, "action": "OSS", "action_start": "2025-04-16", "action_days": 3,
                }
            ],
        }
    )  # fmt: skip
    school.at(school.world.clock.moment + timedelta(hours=1))
    after = school.predict()
    found = school.changes(since=before.prediction_id)
    moves = parts_of(found)
    only(moves, "new_records", "corrected_records")
    assert moves["new_records"] == pytest.approx(plain["new_records"], abs=1e-6)
    corrected = found.change.parts[2]
    assert corrected.concepts
    assert all(item.effect * corrected.logit > 0 for item in corrected.concepts)
    assert {item.outcome for item in school.replay(before, after)} == {"same"}


def test_another_model_is_all_of_the_move_over_the_same_records(school: School) -> None:
    school.begin(date(2025, 2, 3))
    before = school.predict()
    school.registry.set_champion(ModelVersion("2"))
    school.at(FIRST_TUESDAY + timedelta(hours=1))
    after = school.predict()
    assert (before.model_version, after.model_version) == ("1", "2")
    only(parts_of(school.changes()), "new_model")
    assert {item.outcome for item in school.replay(before, after)} == {"same"}


def test_every_kind_at_once_still_sums_to_the_move(school: School) -> None:
    school.begin(date(2024, 11, 4))
    before = school.predict()
    school.next_week()
    school.at(school.world.clock.moment - timedelta(days=3))
    school.world.load_one(
        "attendance_records", {"student_id": STUDENT, "date": "2025-04-29", "status": "absent_unexcused"}
    )
    school.at(school.world.clock.moment + timedelta(days=3))
    school.next_week(absent_every=1)
    school.registry.set_champion(ModelVersion("2"))
    after = school.predict()
    only(parts_of(school.changes()), "new_records", "left_window", "corrected_records", "new_model")
    assert {item.outcome for item in school.replay(before, after)} == {"same"}


def test_predictions_are_the_same_again_after_what_they_read_was_written_over(school: School) -> None:
    school.begin(date(2025, 2, 3))
    before = school.predict()
    school.at(FIRST_TUESDAY + timedelta(hours=5))
    school.world.load(
        {
            "schools": [{"school_id": "north", "records_tardies": False}],
            "calendar": [
                {
                    "school_id": "north", "date": "2025-04-30", "is_instructional": False, "term_id": "t",
                    "school_year": 2024,
                }
            ],
            "students": [{"student_id": STUDENT, "birth_date": "2006-03-01"}],
            "attendance_records": [
                {"student_id": STUDENT, "date": "2025-04-28", "status": "tardy", "recorded_at": "2025-04-28T12:00:00Z"}
            ],
        }
    )  # fmt: skip
    after = school.predict()
    assert after.risk_score != before.risk_score
    assert [item.outcome for item in school.replay(before, after)] == ["same", "same"]
    only(parts_of(school.changes()), "corrected_records")


def test_a_prediction_about_the_past_is_the_same_again(school: School) -> None:
    school.begin(date(2025, 2, 3))
    school.next_week()

    async def work(opened: Opened) -> Prediction:
        (answer,) = await opened.ask(STUDENT, as_of=date(2025, 4, 16))
        assert isinstance(answer, Prediction)
        return answer

    about_april = school.place.serve(work)
    assert about_april.feature_week == date(2025, 4, 7)
    assert [item.outcome for item in school.replay(about_april)] == ["same"]


def test_scores_of_a_whole_district_are_the_same_again(database_urls, redis_server, models: Settings) -> None:
    registry_of(models).set_champion(ModelVersion("1"))
    uri = models.mlflow_tracking_uri or ""
    district = make_district(database_urls, redis_server.url, uri=uri, home=models.home, students=24)
    quiet = Console(quiet=True)
    request = ScoreRequest(place="here")
    scored = asyncio.run(score_runs.score(district.settings, request, clock=FixedClock(NOW), console=quiet)).scored
    assert scored > 15
    district.world.clock.moment = datetime.now(UTC) + timedelta(hours=1)
    claimed = {"date": "2025-05-20", "recorded_at": "2025-05-21T12:00:00Z"}
    district.world.load(
        {
            "attendance_records": [
                {"student_id": f"s{number:03d}", "status": "absent_unexcused" if number % 2 else "present", **claimed}
                for number in range(20)
            ]
        }
    )
    found = asyncio.run(replay_predictions(district.settings, [], sample=1000, seed=1, clock=district.world.clock))
    assert [item.outcome for item in found] == ["same"] * scored
    assert {item.last_import for item in found} == {district.world.values("SELECT min(import_id) FROM imports")[0]}


def test_a_stored_score_that_nothing_gives_is_reported_with_what_differs(school: School) -> None:
    school.begin(date(2025, 2, 3))
    before = school.predict()
    school.world.execute("UPDATE predictions SET risk_score = risk_score / 2, category = 'low'")
    (found,) = school.replay(before)
    assert found.outcome == "differs"
    assert [told.split(":")[0] for told in found.told] == ["risk_score", "category"]
    school.next_week()
    school.predict()
    with pytest.raises(ChangeUnknownError, match="edupulse replay"):
        school.changes()


def test_a_model_that_is_gone_makes_replays_impossible_and_changes_unknown(school: School, tmp_path: Path) -> None:
    school.begin(date(2025, 2, 3))
    before = school.predict()
    school.world.execute("UPDATE predictions SET model_version = '77'")
    (found,) = school.replay(before)
    assert found.outcome == "impossible"
    school.next_week()
    school.predict()
    with pytest.raises(ChangeUnknownError, match="no longer in the registry"):
        school.changes()


def test_looks_are_audited_and_need_two_predictions(school: School) -> None:
    school.begin(date(2025, 2, 3))
    with pytest.raises(ChangeUnknownError, match="not been scored"):
        school.changes()
    before = school.predict()
    with pytest.raises(ChangeUnknownError, match="one prediction only"):
        school.changes()
    with pytest.raises(NotFoundError, match="no prediction of the id"):
        school.changes(since="00000000-0000-4000-8000-000000000001")
    with pytest.raises(NotFoundError, match="no prediction 00000000"):
        school.replay(dataclasses.replace(before, prediction_id=PredictionId("00000000-0000-4000-8000-000000000001")))
    school.replay(before)
    looked = school.world.rows(
        "SELECT action, count(*) AS n, count(student_key) AS named FROM audit_log WHERE action <> 'predict'"
        " GROUP BY action ORDER BY action"
    )
    assert looked == [{"action": "changes", "n": 3, "named": 3}, {"action": "replay", "n": 1, "named": 1}]
