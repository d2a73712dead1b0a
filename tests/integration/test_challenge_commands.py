"""A challenge from its beginning to its report, against a real PostgreSQL and a real MLflow."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from deployments.components import RegistryModels
from edupulse_ml.core.challenge import Challenge, ShadowPrediction
from edupulse_ml.core.errors import ConflictError, InvalidInputError, NotFoundError
from edupulse_ml.core.feedback import OutcomeFeedback
from edupulse_ml.core.ids import DistrictId, ModelVersion, PredictionId, StudentId
from edupulse_ml.registry.models import ModelRegistry, model_name
from edupulse_ml.registry.tracking import tracked_run
from edupulse_ml.storage.challenges import PostgresChallengeStore
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.feedback import FeedbackRepository
from edupulse_ml.storage.predictions import PostgresPredictionStore
from edupulse_ml.storage.promotions import PromotionRepository, PromotionUnderWayError
from edupulse_ml.storage.records import PostgresRecordReader
from jobs.challenge.comparing import compare_challenge
from jobs.challenge.setting import Weights, begin_challenge, end_challenge, weigh_challenge
from jobs.promotion.deciding import PromotionPlaces
from tests.fakes.clocks import FixedClock
from tests.fakes.predictions import prediction
from tests.fakes.scored_district import make_artifact
from tests.fakes.store_world import NOW, SCHOOLS, STUDENTS, World

N_STUDENTS = 120
MONDAY = date(2024, 9, 30)
BEGUN = datetime(2024, 10, 8, 15, tzinfo=UTC)
LEFT = set(range(0, N_STUDENTS, 3))
"""Every third student drops out in December."""


def student(number: int) -> str:
    return f"p{number:03d}"


def enrollment(number: int) -> dict[str, object]:
    left = {"exit_date": "2024-12-10", "exit_code": "dropout"} if number in LEFT else {}
    return {
        "student_id": student(number),
        "school_id": "north",
        "grade_level": 10,
        "entry_date": "2024-08-26",
        **left,
    }


@dataclass(frozen=True)
class Models:
    """A registry with two versions."""

    uri: str
    folder: Path
    registry: ModelRegistry


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    uri = f"sqlite:///{folder}/mlflow.db"
    registry = ModelRegistry(uri, name=model_name(DistrictId("demo")), cache_dir=folder / "cache")
    make_artifact().save(folder / "artifact")
    for _ in range(2):
        with tracked_run(
            uri, experiment="e", run_name="r", artifact_root=folder / "runs", clock=FixedClock(BEGUN)
        ) as run:
            registry.register(folder / "artifact", run, tags={})
    return Models(uri, folder, registry)


class Places:
    """Version 1 is the champion and nobody challenges it, in a database with students."""

    def __init__(self, urls, models: Models) -> None:
        self.clock = FixedClock(BEGUN)
        self.world = World(urls)
        students = [*STUDENTS, *({"student_id": student(number)} for number in range(N_STUDENTS))]
        self.world.load({"schools": SCHOOLS, "students": students})
        self.world.load({"enrollments": [enrollment(number) for number in range(N_STUDENTS)]})
        self.models = models
        self.registry = models.registry
        self.registry.set_champion(ModelVersion("1"))
        if self.registry.alias("challenger") is not None:
            self.registry.set_alias("challenger", None)

    def run(self, work) -> Any:
        async def inside(database: Database):
            return await work(PromotionPlaces(self.clock, database, self.registry))

        self.clock.advance(timedelta(minutes=1))
        return self.world.run(inside)

    def begin(self, version: str = "2", **weights: float) -> Challenge:
        return self.run(lambda places: begin_challenge(places, ModelVersion(version), Weights(**weights), by="ada"))

    def compare(self, challenge_id: str | None = None):
        async def work(places: PromotionPlaces):
            context: Any = SimpleNamespace(
                database=places.database,
                registry=places.registry,
                clock=FixedClock(datetime(2025, 7, 1, 15, tzinfo=UTC)),
                reader=PostgresRecordReader(places.database),
            )
            return await compare_challenge(context, challenge_id=challenge_id)

        return self.run(work)


@pytest.fixture
def places(database_urls, models: Models) -> Places:
    return Places(database_urls, models)


def test_a_challenge_is_set_weighed_and_ended(places: Places) -> None:
    begun = places.begin(shadow=0.2)
    assert (begun.version, begun.shadow, begun.split) == ("2", 0.2, 0.0)
    assert places.registry.alias("challenger") == "2"
    weighed = places.run(lambda found: weigh_challenge(found, Weights(split=0.1), by="bob"))
    assert weighed == replace(begun, split=0.1)
    assert places.run(lambda found: PostgresChallengeStore(found.database).current()) == weighed
    places.run(lambda found: end_challenge(found, by="bob"))
    assert places.run(lambda found: PostgresChallengeStore(found.database).current()) is None
    settings = places.run(lambda found: PostgresChallengeStore(found.database).settings_of(begun.challenge_id))
    assert [(setting.challenge.split, setting.is_over) for setting in settings] == [
        (0.0, False),
        (0.1, False),
        (0.0, True),
    ]
    assert settings[0].set_at < settings[1].set_at < settings[2].set_at
    assert places.registry.alias("challenger") is None
    assert places.registry.champion() == "1"
    assert places.world.values("SELECT actor || ' ' || action || ' ' || outcome FROM audit_log ORDER BY at") == [
        "ada challenge set",
        "bob challenge set",
        "bob challenge ended",
    ]


def test_serving_loads_what_the_alias_names(places: Places) -> None:
    models = RegistryModels(
        tracking_uri=places.models.uri,
        district=places.world.district,
        cache_dir=places.models.folder / "served",
        device="cpu",
        threads=1,
    )
    with pytest.raises(NotFoundError, match="edupulse challenger set"):
        models.fetch("challenger")
    places.begin()
    assert models.fetch("challenger").version == "2"
    assert models.load(models.fetch("challenger")).contract == make_artifact().contract
    assert models.fetch("champion").version == "1"


def test_what_makes_no_sense_is_refused_and_moves_nothing(places: Places) -> None:
    with pytest.raises(ConflictError, match="is the champion"):
        places.begin("1")
    with pytest.raises(NotFoundError):
        places.begin("77")
    with pytest.raises(InvalidInputError):
        places.begin(split=1.5)
    for work in (
        lambda found: weigh_challenge(found, Weights(split=0.1), by="ada"),
        lambda found: end_challenge(found, by="ada"),
        lambda found: compare_challenge(SimpleNamespace(database=found.database), challenge_id=None),
    ):
        with pytest.raises(NotFoundError, match="challenger set"):
            places.run(work)
    assert places.world.values("SELECT count(*) FROM challenge_settings") == [0]
    places.begin(split=0.1)
    with pytest.raises(ConflictError, match="challenges already"):
        places.begin()
    with pytest.raises(InvalidInputError):
        places.run(lambda found: weigh_challenge(found, Weights(split=-0.5), by="ada"))


def test_a_promotion_and_a_challenge_wait_for_each_other(places: Places) -> None:
    async def work(found: PromotionPlaces) -> None:
        async with PromotionRepository(found.database, clock=found.clock).exclusive():
            with pytest.raises(PromotionUnderWayError):
                await begin_challenge(found, ModelVersion("2"), Weights(), by="ada")

    places.run(work)


def test_the_report_counts_students_once_by_the_arm_they_were_drawn_into(places: Places) -> None:
    challenge = places.begin(shadow=1.0, split=0.5)
    answered = [prediction(number, student=student(number)) for number in range(N_STUDENTS)]
    theirs = {number for number in range(N_STUDENTS) if challenge.answers(answered[number].student_id)}

    async def serve(found: PromotionPlaces) -> None:
        store, beside = PostgresPredictionStore(found.database), PostgresChallengeStore(found.database)
        for day, offset in ((BEGUN + timedelta(hours=1), 0), (BEGUN + timedelta(days=3), 1000)):
            made = [
                replace(
                    item,
                    prediction_id=PredictionId(str(UUID(int=offset + number))),
                    created_at=day,
                    feature_week=MONDAY,
                    risk_score=0.5 - number / 1000,
                    challenge_id=challenge.challenge_id,
                    role="challenger" if number in theirs and number != min(theirs) else "champion",
                )
                for number, item in enumerate(answered)
            ]
            await store.save(made, actor="a", action="predict", request_ids=["r"] * N_STUDENTS)
            said = [
                ShadowPrediction(
                    item,
                    replace(
                        item,
                        prediction_id=PredictionId(str(UUID(int=5000 + offset + number))),
                        risk_score=0.95 if number in LEFT else 0.05,
                        model_version=ModelVersion("2"),
                    ),
                )
                for number, item in enumerate(made)
                if item.role == "champion"
            ]
            await beside.save_shadows(said, challenge_id=challenge.challenge_id)

    places.run(serve)
    report = places.compare()
    assert (report.challenger, report.champion, report.horizon_days) == ("2", "1", 180)
    shadow, arms = report.shadow, report.arms
    assert shadow.n_students == N_STUDENTS - len(theirs) + 1
    assert shadow.models["challenger"].figures["auc"].value == 1.0
    assert arms.n_students == {"champion": N_STUDENTS - len(theirs), "challenger": len(theirs)}
    assert arms.answers_by_other["champion"].value == 0.0
    assert arms.answers_by_other["challenger"].value == pytest.approx(1 / len(theirs))
    assert (report.shadow_weight, report.split_weight, report.is_over) == (1.0, 0.5, False)
    assert report == places.compare(challenge.challenge_id)

    places.run(lambda found: end_challenge(found, by="ada"))
    other = places.begin(shadow=0.5)
    assert other.challenge_id != challenge.challenge_id
    assert (places.compare().shadow, places.compare().arms) == (None, None)
    assert places.compare(challenge.challenge_id).shadow == shadow


def test_graduates_stayed_and_reported_leavers_left(places: Places) -> None:
    graduates, reported = ([f"{letter}{number:02d}" for number in range(15)] for letter in "gr")
    names = [*graduates, *reported]
    seen = {"school_id": "north", "grade_level": 12, "entry_date": "2024-08-26"}
    ended = {"exit_date": "2025-01-31", "exit_code": "graduated"}
    places.world.load(
        {
            "students": [{"student_id": name} for name in names],
            "enrollments": [{"student_id": name, **seen, **(ended if name in graduates else {})} for name in names],
        }
    )
    challenge = places.begin(shadow=1.0)
    made = [
        prediction(number, student=name, created_at=BEGUN + timedelta(hours=1), feature_week=MONDAY)
        for number, name in enumerate(names)
    ]
    said = [
        ShadowPrediction(answer, replace(answer, prediction_id=PredictionId(str(UUID(int=5000 + number)))))
        for number, answer in enumerate(made)
    ]
    left = [
        OutcomeFeedback(
            key=name,
            student_id=StudentId(name),
            given_by="registrar",
            outcome="left",
            happened_on=date(2024, 12, 2),
            recorded_at=datetime(2024, 12, 9, tzinfo=UTC),
        )
        for name in reported
    ]

    async def work(found: PromotionPlaces) -> None:
        await PostgresPredictionStore(found.database).save(
            made, actor="a", action="predict", request_ids=["r"] * len(made)
        )
        await PostgresChallengeStore(found.database).save_shadows(said, challenge_id=challenge.challenge_id)
        await FeedbackRepository(found.database, clock=FixedClock(NOW)).give(left, actor="a", request_id="r")

    places.run(work)
    shadow = places.compare().shadow
    assert shadow.models["champion"].n_students == len(names), "an outcome is known of everybody"
    assert shadow.models["champion"].figures["share_left"].value == 0.5


def test_history_shows_what_was_answered_and_not_what_was_said_unheard(places: Places) -> None:
    challenge = places.begin(shadow=1.0)
    answer = prediction(1)
    said = replace(prediction(2), model_version=ModelVersion("2"))

    async def work(found: PromotionPlaces):
        store = PostgresPredictionStore(found.database)
        await store.save([answer], actor="a", action="predict", request_ids=["r"])
        await PostgresChallengeStore(found.database).save_shadows(
            [ShadowPrediction(answer, said)], challenge_id=challenge.challenge_id
        )
        return await store.history(answer.student_id, limit=10)

    assert places.run(work) == [answer]
    assert places.world.values("SELECT count(*) FROM shadow_predictions") == [1]


def test_an_insert_of_the_release_before_is_the_champions(places: Places) -> None:
    places.run(lambda found: _ensure_month(found.database))
    places.world.execute(
        "SET edupulse.district = 'demo'; INSERT INTO predictions (prediction_id, student_key, as_of, created_at, "
        "feature_week, model_version, policy_version, risk_score, risk_60plus, category, coverage, attention_weeks) "
        "SELECT gen_random_uuid(), student_key, now(), timestamptz '2025-03-03 12:00+00', date '2025-02-24', '1', '1', "
        "0.5, 0.5, 'high', '{}', '[]' FROM students LIMIT 1"
    )
    assert places.world.rows("SELECT role::text, challenge_id FROM predictions") == [
        {"role": "champion", "challenge_id": None}
    ]


async def _ensure_month(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("SELECT ensure_partitions('predictions', '2025-03-01', '2025-03-01')")
