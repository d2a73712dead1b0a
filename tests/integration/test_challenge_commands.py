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
from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.errors import ConflictError, ContractMismatchError, InvalidInputError, NotFoundError
from edupulse_ml.core.feedback import OutcomeFeedback
from edupulse_ml.core.ids import DistrictId, ModelVersion, PredictionId, StudentId
from edupulse_ml.core.outcomes import EARLY_TASK, risk_task
from edupulse_ml.core.predictions import Prediction
from edupulse_ml.registry.models import ModelRegistry, model_name
from edupulse_ml.registry.tracking import tracked_run
from edupulse_ml.storage.challenges import PostgresChallengeStore, SettingUnderWayError
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
    """A registry with four versions: the third predicts over 90 days, the fourth reads ten weeks."""

    uri: str
    folder: Path
    registry: ModelRegistry


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    uri = f"sqlite:///{folder}/mlflow.db"
    registry = ModelRegistry(uri, name=model_name(DistrictId("demo")), cache_dir=folder / "cache")
    usual = make_artifact()
    shorter = replace(usual, task=risk_task(90), tasks=(risk_task(90), EARLY_TASK))
    other_window = replace(usual, contract=current_contract(window_weeks=10))
    for number, artifact in enumerate((usual, usual, shorter, other_window)):
        artifact.save(folder / f"artifact-{number}")
        with tracked_run(
            uri, experiment="e", run_name="r", artifact_root=folder / "runs", clock=FixedClock(BEGUN)
        ) as run:
            registry.register(folder / f"artifact-{number}", run, tags={})
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
    with pytest.raises(NotFoundError, match="the versions are 1, 2, 3, 4"):
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


@pytest.mark.parametrize(
    ("version", "error", "why"),
    [
        ("77", NotFoundError, "the versions are 1, 2, 3, 4"),
        ("1", ConflictError, "is the champion"),
        ("3", InvalidInputError, "over 90 days, the champion \\(version 1\\) risk_score over 180"),
        ("4", ContractMismatchError, "window_weeks"),
    ],
)
def test_a_version_that_cannot_challenge_leaves_the_challenge_that_is_on(
    places: Places, version: str, error: type[Exception], why: str
) -> None:
    running = places.begin(shadow=0.2)
    with pytest.raises(error, match=why):
        places.begin(version, shadow=0.5)
    assert places.run(lambda found: PostgresChallengeStore(found.database).current()) == running
    assert places.registry.alias("challenger") == running.version


def test_a_challenge_does_not_begin_while_a_version_is_judged_but_is_weighed_and_ended(places: Places) -> None:
    begun = places.begin(shadow=0.2, split=0.5)

    async def work(found: PromotionPlaces) -> None:
        async with PromotionRepository(found.database, clock=found.clock).exclusive():
            with pytest.raises(PromotionUnderWayError):
                await begin_challenge(found, ModelVersion("2"), Weights(), by="ada")
            assert (await weigh_challenge(found, Weights(split=0.0), by="ada")) == replace(begun, split=0.0)
            await end_challenge(found, by="ada")

    places.run(work)
    assert places.registry.alias("challenger") is None
    assert places.run(lambda found: PostgresChallengeStore(found.database).current()) is None


def test_one_setting_of_a_district_at_a_time(places: Places) -> None:
    begun = places.begin(shadow=0.2)

    async def work(found: PromotionPlaces) -> None:
        async with PostgresChallengeStore(found.database).exclusive():
            for other in (
                weigh_challenge(found, Weights(split=0.5), by="bob"),
                end_challenge(found, by="bob"),
                begin_challenge(found, ModelVersion("2"), Weights(), by="bob"),
            ):
                with pytest.raises(SettingUnderWayError, match="try again"):
                    await other

    places.run(work)
    assert places.run(lambda found: PostgresChallengeStore(found.database).current()) == begun
    places.run(lambda found: end_challenge(found, by="bob"))


def test_the_report_counts_students_once_by_the_arm_they_were_drawn_into(places: Places) -> None:
    challenge = places.begin(shadow=1.0, split=0.5)
    answered = [prediction(number, student=student(number)) for number in range(N_STUDENTS)]

    def by(challenger: bool) -> dict[str, Any]:
        return {"role": "challenger", "model_version": "2"} if challenger else {"model_version": "1"}

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
                    **by(number in theirs and number != min(theirs)),
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
    assert (report.challenger, report.champions, report.horizon_days) == ("2", ("1",), 180)
    assert report.counted_until is None
    shadow, arms = report.shadow, report.arms
    assert shadow.n_students == N_STUDENTS - len(theirs) + 1
    assert shadow.models["challenger"].figures["auc"].value == 1.0
    assert arms.n_students == {"champion": N_STUDENTS - len(theirs), "challenger": len(theirs)}
    assert arms.answers_by_other["champion"].value == 0.0
    assert arms.answers_by_other["challenger"].value == pytest.approx(1 / len(theirs))
    assert (report.shadow_weight, report.split_weight, report.is_over) == (1.0, 0.5, False)
    assert report == places.compare(challenge.challenge_id)

    places.clock.advance(timedelta(days=4))
    places.run(lambda found: end_challenge(found, by="ada"))
    other = places.begin(shadow=0.5)
    assert other.challenge_id != challenge.challenge_id
    assert (places.compare().shadow, places.compare().arms) == (None, None)
    ended = places.compare(challenge.challenge_id)
    assert (ended.shadow, ended.arms, ended.is_over) == (shadow, arms, True)
    assert (ended.shadow_weight, ended.split_weight) == (1.0, 0.5)

    # Whoever is the champion today changes nothing about what was answered: the challenger, or one that predicts over 90 days.
    for champion in ("2", "3"):
        places.registry.set_champion(ModelVersion(champion))
        assert places.compare(challenge.challenge_id) == ended


@pytest.mark.parametrize("next_champion", ["2", "3"])
def test_what_is_answered_by_a_champion_that_is_no_rival_does_not_count_in_either_arm(
    places: Places, next_champion: str
) -> None:
    """The challenger itself once promoted, and a version that predicts over 90 days."""
    challenge = places.begin(split=0.5)

    def answers(first: int, *, version: str, at: datetime) -> list[Prediction]:
        made = [
            prediction(first + n, student=student(first + n), created_at=at, as_of=at, feature_week=MONDAY)
            for n in range(20)
        ]
        theirs = [version == "1" and challenge.answers(item.student_id) for item in made]
        return [
            replace(
                item,
                challenge_id=challenge.challenge_id,
                role="challenger" if by_challenger else "champion",
                model_version=ModelVersion("2" if by_challenger else version),
            )
            for item, by_challenger in zip(made, theirs, strict=True)
        ]

    async def save(found: PromotionPlaces, made: list[Prediction]) -> None:
        await PostgresPredictionStore(found.database).save(
            made, actor="a", action="predict", request_ids=["r"] * len(made)
        )

    assert places.compare().champions == ()
    moved = BEGUN + timedelta(days=2)
    places.run(lambda found: save(found, answers(0, version="1", at=BEGUN + timedelta(hours=1))))
    before = places.compare()
    places.run(lambda found: save(found, answers(20, version=next_champion, at=moved)))
    after = places.compare()
    assert (after.champions, after.counted_until) == (("1",), moved.isoformat())
    assert (before.champions, before.counted_until) == (("1",), None)
    assert before.arms is not None
    assert after.arms == before.arms


def test_answers_about_the_past_do_not_enter_the_challenge(places: Places) -> None:
    """A day back still counts, as yesterday's date asked for today does; what is older may be decided already."""
    challenge = places.begin(shadow=1.0, split=0.5)
    given = BEGUN + timedelta(hours=1)
    ages = {0: timedelta(0), 1: timedelta(hours=23), 2: timedelta(hours=25), 3: timedelta(days=400)}
    answered = [
        prediction(
            number,
            student=student(number),
            created_at=given,
            as_of=given - age,
            feature_week=MONDAY,
            challenge_id=challenge.challenge_id,
        )
        for number, age in ages.items()
    ]
    # The student of the old question is asked about today's state later on: that answer counts, and it alone.
    answered.append(
        replace(
            answered[3],
            prediction_id=PredictionId(str(UUID(int=100))),
            created_at=given + timedelta(hours=1),
            as_of=given,
            risk_score=0.9,
        )
    )

    async def work(found: PromotionPlaces):
        await PostgresPredictionStore(found.database).save(
            answered, actor="a", action="predict", request_ids=["r"] * len(answered)
        )
        store = PostgresChallengeStore(found.database)
        said = [
            replace(item, prediction_id=PredictionId(str(UUID(int=5000 + number))), model_version=ModelVersion("2"))
            for number, item in enumerate(answered)
        ]
        await store.save_shadows(
            [ShadowPrediction(*pair) for pair in zip(answered, said, strict=True)], challenge_id=challenge.challenge_id
        )
        return (
            await store.shadow_pairs(challenge.challenge_id),
            await store.first_answers(challenge.challenge_id, since=BEGUN),
        )

    pairs, answers = places.run(work)
    old = prediction(0).risk_score
    assert sorted(pair.answered[0] for pair in pairs) == [old, old, 0.9]
    assert sorted((answer.student_id, answer.scores[0], answer.answers) for answer in answers) == [
        (student(0), old, 1),
        (student(1), old, 1),
        (student(3), 0.9, 1),
    ]


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
    given = BEGUN + timedelta(hours=1)
    made = [
        prediction(number, student=name, created_at=given, as_of=given, feature_week=MONDAY)
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
