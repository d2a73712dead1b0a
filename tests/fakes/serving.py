"""A serving graph without servers: students with stored windows, a transparent model, and all parts in one process."""

import asyncio
import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from ray.serve import Application

from deployments.change_failures import no_change
from deployments.change_fetching import ChangeFetcher
from deployments.change_messages import ChangeRequest, NoChange, ScoredChange
from deployments.components import Stores
from deployments.feedback import FeedbackService
from deployments.ingress.services import Services
from deployments.job_server import JobServer
from deployments.messages import FetchRequest, HopFailure, ScoredStudents, ServedModel
from deployments.model_slot import CHAMPION, LoadedModel, ModelFiles, ModelSlot, ModelSource
from deployments.moments import DistrictZone
from deployments.past_models import PastModels
from deployments.readiness import ReplicaReadiness
from deployments.score_changes import ScoreChanges
from deployments.scoring import ScoringOptions, ScoringService
from deployments.settings import AppArgs, ServingConfig
from deployments.window_scoring import score_windows
from deployments.windows import ComputeFeatures, WindowFetcher, WindowSources
from edupulse_ml.core.clock import Clock
from edupulse_ml.core.contract import FEATURE_INDEX, FeatureContract, current_contract
from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import ModelVersion, PredictionId, StudentId, StudentKey
from edupulse_ml.core.predictions import CategoryPolicy, Reason
from edupulse_ml.core.records import (
    AttendanceEvents,
    DisciplineEvents,
    EnrollmentEvents,
    ExitEvents,
    GradeEvents,
    RecordSet,
    SchoolCalendars,
    TranscriptEvents,
    empty_events,
)
from edupulse_ml.core.sequences import FeatureBlock, SequenceBatch
from edupulse_ml.core.sufficiency import SufficiencyPolicy
from edupulse_ml.security.tokens import hash_token
from tests.fakes import training
from tests.fakes.clocks import FixedClock
from tests.fakes.feedback import FakeFeedbackStore
from tests.fakes.stores import (
    FakeAnswerCache,
    FakeChallengeStore,
    FakeFeatureStore,
    FakePastRecords,
    FakePredictionStore,
    FakeRecordReader,
    empty_block,
)

TOKEN = "edp_test-token"
N_WEEKS = 26
FIRST_MONDAY = 18_876  # 2021-09-06
LAST_WEEK = FIRST_MONDAY + 7 * (N_WEEKS - 1)
NOW = datetime(2022, 3, 9, 15, tzinfo=UTC)
"""Wednesday after the last stored week."""
CONTRACT = current_contract(window_weeks=20)
POLICY = CategoryPolicy("p1", moderate_from=0.2, high_from=0.4, critical_from=0.6)
RATE = FEATURE_INDEX["absence_rate_4wk"]
REASON = Reason("absences rising", "Missed 6 of the last 20 days; typical: 1.", 0.8)
SHIELD = Reason("grades", "Passes every course.", -0.3)


def student_block(rate: float, *, weeks: int = N_WEEKS) -> FeatureBlock:
    """One student with `absence_rate_4wk` = `rate` in each of the last `weeks` weeks and everything recorded."""
    block = empty_block(1, weeks)
    block.week[0] = LAST_WEEK - 7 * np.arange(weeks - 1, -1, -1)
    block.values[0, :, RATE] = rate
    block.mask[:] = True
    block.aux[:] = 0.5
    block.context[:] = 0.0
    block.grade_level[:] = 9
    block.school[:] = 0
    block.school_year[:] = 2021
    return block


def no_records(n_students: int) -> RecordSet:
    """Students without any record."""
    return RecordSet(
        n_students=n_students,
        birth_day=np.zeros(n_students, np.int32),
        attendance=empty_events(AttendanceEvents),
        grades=empty_events(GradeEvents),
        transcript=empty_events(TranscriptEvents),
        discipline=empty_events(DisciplineEvents),
        enrollments=empty_events(EnrollmentEvents),
        calendars=SchoolCalendars(
            FIRST_MONDAY,
            np.zeros((1, 7), np.bool_),
            np.zeros((1, 7), np.int32),
            np.zeros((1, 7), np.int32),
            np.zeros((1, 7), np.bool_),
            np.ones(1, np.bool_),
        ),
    )


@dataclass(frozen=True)
class TransparentScores:
    """The risk is the last step's absence rate."""

    risk_score: np.ndarray
    risk_60plus: np.ndarray
    attention: np.ndarray


@dataclass(frozen=True)
class FixedExplanation:
    reasons: tuple[Reason, ...] = (REASON,)
    protective_factors: tuple[Reason, ...] = (SHIELD,)


def transparent_score(batch: SequenceBatch) -> TransparentScores:
    rows = np.arange(batch.n_examples)
    rate = np.nan_to_num(batch.values[rows, np.maximum(batch.length - 1, 0), RATE], nan=0.0).astype(np.float64)
    attention = np.where(batch.week >= 0, np.arange(batch.week.shape[1])[None, :], 0.0)
    return TransparentScores(rate, rate / 2, attention / np.maximum(attention.sum(axis=1, keepdims=True), 1))


def transparent_explain(batch: SequenceBatch) -> list[FixedExplanation]:
    return [FixedExplanation() for _ in range(batch.n_examples)]


TRANSPARENT = LoadedModel(CONTRACT, POLICY, transparent_score, transparent_explain)


def _out_of_range(batch: SequenceBatch) -> TransparentScores:
    scores = transparent_score(batch)
    return dataclasses.replace(scores, risk_score=scores.risk_score + 2)


@dataclass
class FakeModels:
    """Versions 1 (champion) and 2 work; `bad` fails its self-test, `foreign` has another contract, `torn` does not
    load, anything else does not exist. `error` makes every fetch fail. `copy` is the version of the local copy."""

    champion: str = "1"
    error: Exception | None = None
    loads: int = 0
    copy: str | None = None

    def fetch(self, wanted: str) -> ModelFiles:
        if self.error is not None:
            raise self.error
        version = self.champion if wanted == CHAMPION else wanted
        if version not in {"1", "2", "bad", "foreign", "torn"}:
            raise NotFoundError(f"There is no model version {version}.")
        return ModelFiles(ModelVersion(version), Path("/nonexistent"))

    def kept(self, wanted: str) -> ModelFiles | None:
        return ModelFiles(ModelVersion(self.copy), Path("/nonexistent")) if self.copy is not None else None

    def load(self, files: ModelFiles) -> LoadedModel:
        self.loads += 1
        if files.version == "torn":
            raise OSError("half a file")
        if files.version == "bad":
            return dataclasses.replace(TRANSPARENT, score=_out_of_range)
        if files.version == "foreign":
            return dataclasses.replace(TRANSPARENT, contract=current_contract(window_weeks=12))
        return TRANSPARENT


@dataclass
class CountingMetrics:
    """All metric Protocols of the graph, in lists."""

    answers: list[tuple[str, bool]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    sources: dict[str, int] = field(default_factory=dict)
    swaps: list[str] = field(default_factory=list)
    states: list[tuple[str | None, bool]] = field(default_factory=list)

    def answered(self, answers: int, *, status: str, cached: bool) -> None:
        self.answers.extend([(status, cached)] * answers)

    def batch_done(self, *, questions: int, seconds: float) -> None:
        assert seconds >= 0
        self.batches.append(questions)

    def fetched(self, *, source: str, windows: int) -> None:
        self.sources[source] = self.sources.get(source, 0) + windows

    def swap(self, *, outcome: str) -> None:
        self.swaps.append(outcome)

    def state(self, *, version: str | None, failed: bool) -> None:
        self.states.append((version, failed))


@dataclass
class LocalPipeline:
    """Both hops in this process; counts calls."""

    fetcher: WindowFetcher
    slot: ModelSlot
    requests: list[tuple[FetchRequest, tuple[bool, ...]]] = field(default_factory=list)
    served_calls: int = 0
    error: Exception | None = None
    delay_s: float = 0.0
    served_delay_s: float = 0.0
    fetcher_error: Exception | None = None

    async def score(self, request: FetchRequest, *, with_reasons: Sequence[bool]) -> ScoredStudents:
        self.requests.append((request, tuple(with_reasons)))
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        live = self.slot.live
        if live is None:
            raise HopFailure("No model is served.", "model registry").error()
        return score_windows(live, await self.fetcher.fetch_many(request), with_reasons=with_reasons)

    async def ping_fetcher(self) -> None:
        if self.fetcher_error is not None:
            raise self.fetcher_error

    async def served(self) -> ServedModel:
        self.served_calls += 1
        await asyncio.sleep(self.served_delay_s)
        return self.slot.served()


@dataclass
class LocalChangePipeline:
    """Both hops of an explained change in this process."""

    fetcher: ChangeFetcher
    slot: ModelSlot
    past: PastModels

    async def contracts_of(self, versions: Sequence[ModelVersion]) -> tuple[FeatureContract, ...]:
        found = await self.past.contracts_of(versions, live=self.slot.live)
        if isinstance(found, NoChange):
            raise found.error()
        return found

    async def explain_change(self, request: ChangeRequest) -> ScoredChange:
        try:
            fetched = await self.fetcher.fetch(request)
        except Exception as error:
            raise no_change(error).error() from error
        found = await self.past.explain(fetched, live=self.slot.live)
        if isinstance(found, NoChange):
            raise found.error()
        return found


STUDENTS = {"S0": 0.1, "S1": 0.3, "S2": 0.5, "S3": 0.9}
"""Stored students by their absence rate; `NEW` has two weeks of records, `COMPUTED` none stored."""


class FakeDistrict:
    """The stores of a small district; a test may switch each of them off."""

    def __init__(self) -> None:
        ids = [StudentId(name) for name in (*STUDENTS, "NEW", "COMPUTED", "EMPTY")]
        self.keys = {student_id: StudentKey(100 + i) for i, student_id in enumerate(ids)}
        self.reader = FakeRecordReader(self.keys, no_records(len(ids)), empty_events(ExitEvents), [*self.keys.values()])
        self.features = FakeFeatureStore(CONTRACT.fingerprint, self.keys)
        for name, rate in STUDENTS.items():
            self.features.put(self.keys[StudentId(name)], student_block(rate), through_week=LAST_WEEK)
        self.features.put(self.keys[StudentId("NEW")], student_block(0.2, weeks=2), through_week=LAST_WEEK)
        self.features.put(self.keys[StudentId("EMPTY")], empty_block(1), through_week=LAST_WEEK)
        self.predictions = FakePredictionStore(known=frozenset(self.keys))
        self.challenges = FakeChallengeStore(known=frozenset(self.keys))
        self.cache = FakeAnswerCache()
        self.past = FakePastRecords(student_block(0.3))
        self.clock = FixedClock(NOW)
        self.feedback = FakeFeedbackStore(self.keys, self._student_of, self.clock)
        self.computed: list[int] = []

    def compute(self, records: RecordSet, week: int) -> FeatureBlock:
        """Every computed student has the rate 0.7."""
        self.computed.append(records.n_students)
        assert records.n_students == 1, "only COMPUTED has nothing stored"
        return student_block(0.7)

    def compute_for(self, contract: FeatureContract) -> ComputeFeatures:
        return self.past.compute

    def _student_of(self, prediction_id: PredictionId) -> StudentId | None:
        own = [p.student_id for p in self.predictions.predictions if p.prediction_id == prediction_id]
        return own[0] if own else None

    async def ping(self) -> None:
        self.reader.switch.require_up()

    def take_postgresql_down(self) -> None:
        for part in (self.reader, self.features, self.predictions, self.feedback, self.challenges):
            part.switch.down = True


class LocalServing:
    """The whole of serving in one process, with every part at hand."""

    def __init__(
        self, *, models: FakeModels | None = None, options: ScoringOptions | None = None, load_model: bool = True
    ) -> None:
        self.district = FakeDistrict()
        self.metrics = CountingMetrics()
        self.models = models or FakeModels()
        self.zone = DistrictZone(self.district.reader)
        self.fetcher = WindowFetcher(
            WindowSources(
                self.district.reader, self.district.features, self.district.cache, self.district.compute, self.zone
            ),
            contract=CONTRACT,
            policy=SufficiencyPolicy(),
            cache_ttl_s=3600,
            metrics=self.metrics,
        )
        self.slot = ModelSlot(self.models, contract=CONTRACT, clock=self.district.clock, metrics=self.metrics)
        if load_model:
            asyncio.run(self.slot.aim(CHAMPION))
        self.pipeline = LocalPipeline(self.fetcher, self.slot)
        self.changes = ScoreChanges(
            LocalChangePipeline(
                ChangeFetcher(
                    self.district.reader, self.district.past, zone=self.zone, compute_for=self.district.compute_for
                ),
                self.slot,
                PastModels(self.models),
            ),
            self.district.predictions,
            timeout_s=2.0,
        )
        self.ids = 0
        self.training = training.LocalTraining(self.district.clock)
        self.scoring = ScoringService(
            pipeline=self.pipeline,
            store=self.district.predictions,
            cache=self.district.cache,
            zone=self.zone,
            clock=self.district.clock,
            new_id=self._new_id,
            metrics=self.metrics,
            options=options or ScoringOptions(),
        )

    def services(self, exposition: Callable[[], str] = lambda: "# nothing\n") -> Services:
        class Metrics:
            async def exposition(self) -> str:
                return exposition()

        return Services(
            scoring=self.scoring,
            changes=self.changes,
            readiness=ReplicaReadiness(
                database=self.district.ping,
                cache=self.district.cache.ping,
                fetcher=self.pipeline.ping_fetcher,
                served=self.pipeline.served,
                timeout_s=0.5,
            ),
            metrics=Metrics(),
            training=self.training.runs,
            models=training.FakeModels(),
            feedback=FeedbackService(self.district.feedback, answer_timeout_s=5),
            token_sha256=hash_token(TOKEN),
            version="0.0.0",
        )

    def _new_id(self) -> PredictionId:
        self.ids += 1
        return PredictionId(f"00000000-0000-4000-8000-{self.ids:012d}")


ZONE = ZoneInfo("America/New_York")


class FakeComponents:
    """The graph over a small district in memory, one per replica. The champion is what `champion_file` says, so that
    a test can promote a model while replicas run."""

    def __init__(self, champion_file: Path) -> None:
        self._champion_file = champion_file

    def configure_logs(self) -> None:
        self._note("logs-configured")

    def config(self, args: AppArgs) -> ServingConfig:
        return ServingConfig(args, self._champion_file.parent, "", "", "", "demo", 3600, CONTRACT)

    def token_sha256(self, args: AppArgs) -> str:
        return hash_token(TOKEN)

    async def open_stores(self, config: ServingConfig, clock: Clock) -> Stores:
        district = FakeDistrict()

        async def close() -> None:
            self._note("closed")

        return Stores(
            reader=district.reader,
            features=district.features,
            predictions=district.predictions,
            challenges=district.challenges,
            cache=district.cache,
            training=training.FakeRunStore(clock),
            past=district.past,
            feedback=district.feedback,
            ping=district.ping,
            close=close,
        )

    def compute_features(self, config: ServingConfig) -> ComputeFeatures:
        return lambda records, week: student_block(0.7)

    def model_source(self, config: ServingConfig) -> ModelSource:
        return FileChampion(self._champion_file)

    def job_server(self, config: ServingConfig) -> JobServer:
        return training.FakeJobServer()

    def registry(self, config: ServingConfig):
        raise NotImplementedError

    def clock(self) -> Clock:
        return FixedClock(NOW)

    def _note(self, what: str) -> None:
        """A file per replica that tells the test what happened there."""
        (self._champion_file.parent / f"{what}-{os.getpid()}").touch()


class FileChampion:
    """`FakeModels` whose champion is the text of a file; no champion while the file is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fetch(self, wanted: str) -> ModelFiles:
        if wanted == CHAMPION and not self._path.is_file():
            raise NotFoundError("This district has no champion model yet: run `edupulse train` first.")
        champion = self._path.read_text() if self._path.is_file() else "1"
        return FakeModels(champion=champion).fetch(wanted)

    def kept(self, wanted: str) -> ModelFiles | None:
        return None

    def load(self, files: ModelFiles) -> LoadedModel:
        return FakeModels().load(files)


def build(args: AppArgs) -> Application:
    """The application of `serve_config.yaml` over `FakeComponents`."""
    from deployments.app import bind_graph

    assert args.home is not None
    return bind_graph(args, FakeComponents(args.home / "champion"))
