"""`serve`: predictions over HTTP, by the Serve graph in both modes and by a plain FastAPI app."""

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import redis

from tests.benchmarks.contenders import Case, Contender, Figures
from tests.benchmarks.district import SEED
from tests.benchmarks.load_generator import LoadPlan, LoadResult, encode
from tests.benchmarks.measuring import watched
from tests.benchmarks.servers import Server, plain_app, serve_graph
from tests.benchmarks.serving_home import COMPUTED_DAY, STORED_DAY, STORED_DAYS, ServingHome, prepare
from tests.benchmarks.setting import BenchSetting

CONNECTIONS: Final = (32, 128)
BATCH: Final = 100
CACHED_STUDENTS: Final = 500
_ROOT: Final = Path(__file__).parents[2]
_SINGLE: Final = "/api/v1/predict"
_MANY: Final = "/api/v1/predict/batch"
_NOTES: Final = (
    "Closed loop from one process on the same cores; all contenders use one PostgreSQL and one Redis.",
    "A prediction row and an audit row are durable before each answer leaves (synchronous_commit is on).",
    "Redis is emptied before each round, except where cached predictions are asked for; no question is asked twice.",
    "CPU: server processes, PostgreSQL and Redis. Memory: the same, shared pages counted once.",
)


@dataclass(frozen=True)
class Question:
    """What a round asks: every student as of each of `days`, `per_request` students at a time (1: the route for one)."""

    days: Sequence[date]
    reasons: bool = False
    per_request: int = 1
    cached: bool = False

    @property
    def path(self) -> str:
        return _SINGLE if self.per_request == 1 else _MANY

    def bodies(self, students: Sequence[str]) -> list[str]:
        """The requests' bodies; each student is in one of them per day."""
        groups = [students[at : at + self.per_request] for at in range(0, len(students), self.per_request)]
        whole = [group for group in groups if len(group) == self.per_request]
        return [self._body(group, day) for day in self.days for group in whole]

    def _body(self, group: Sequence[str], day: date) -> str:
        whom = {"student_id": group[0]} if self.per_request == 1 else {"student_ids": list(group)}
        return json.dumps({**whom, "as_of": day.isoformat(), "include_reasons": self.reasons})


def cases(setting: BenchSetting) -> Generator[Case]:
    """Throughput by where features come from and by connections; then latency without load."""
    home = prepare(setting, students=setting.size(10_000, small=150))
    seconds = 4.0 if not setting.small else 0.3
    one_day, computed = (STORED_DAY,), (COMPUTED_DAY,)
    with ExitStack() as stack:
        arena = _Arena(home, _start(setting, home, stack), seconds, warm_up=not setting.small)
        for connections in CONNECTIONS[:1] if setting.small else CONNECTIONS:
            yield arena.case("cached predictions", Question(one_day, cached=True), connections)
            yield arena.case("stored features", Question(STORED_DAYS), connections)
            yield arena.case("features computed from events", Question(computed), connections)
            yield arena.case(
                f"batches of {BATCH}, stored features", Question(STORED_DAYS, per_request=BATCH), connections
            )
        yield arena.unloaded("without reasons", Question(one_day), requests=setting.size(300, small=5))
        yield arena.unloaded("with reasons", Question(one_day, reasons=True), requests=setting.size(100, small=3))


def _start(setting: BenchSetting, home: ServingHome, stack: ExitStack) -> Sequence[Server]:
    graphs = []
    if setting.with_ray:
        graphs = [
            stack.enter_context(serve_graph(home, name=name, mode=mode))
            for name, mode in (("EduPulse on Ray Serve", "fast"), ("the same graph in Ray's default mode", "default"))
        ]
    return [
        *graphs[:1],
        stack.enter_context(plain_app(home, name="plain FastAPI, 2 workers, requests joined", joined=True)),
        stack.enter_context(plain_app(home, name="plain FastAPI, 2 workers, each request alone", joined=False)),
        *graphs[1:],
    ]


@dataclass(frozen=True)
class _Arena:
    """The data and the servers of all rounds."""

    home: ServingHome
    servers: Sequence[Server]
    seconds: float
    warm_up: bool

    def case(self, title: str, question: Question, connections: int) -> Case:
        """Throughput of one kind of question."""
        unit = "requests" if question.per_request == 1 else "students"
        return Case(
            f"{title[0].upper()}{title[1:]}, {connections} connections",
            [
                Contender(server.name, self._round(server, question, connections, f"{unit}/s"))
                for server in self.servers
            ],
            headline=f"{unit}/s",
            notes=_NOTES,
            warm_up=self.warm_up,
        )

    def unloaded(self, title: str, question: Question, *, requests: int) -> Case:
        """Latency of one request at a time."""
        few = self.home.students[:requests]

        def contender(server: Server) -> Contender:
            def run() -> Figures:
                self._forget()
                result = self._load(server, question, 1, few, seconds=60.0)
                return {"p50 ms": result.latency_ms["p50"], "p99 ms": result.latency_ms["p99"], "errors": result.errors}

            return Contender(server.name, run)

        return Case(
            f"One request at a time, stored features, {title}",
            [contender(server) for server in self.servers],
            headline="p50 ms",
            lower_is_better=True,
            notes=_NOTES[:3],
            warm_up=self.warm_up,
        )

    def _round(self, server: Server, question: Question, connections: int, rate: str) -> Callable[[], Figures]:
        orders = itertools.count()

        def run() -> Figures:
            if question.cached:
                asked: Sequence[str] = self.home.students[:CACHED_STUDENTS]
                self._load(server, question, connections, asked, seconds=60.0)  # fills the cache
            else:
                asked = list(self.home.students)
                random.Random(SEED + next(orders)).shuffle(asked)
                self._forget()
            with watched(server.pids) as used:
                result = self._load(server, question, connections, asked, seconds=self.seconds, cyclic=question.cached)
            predictions = max(result.answered * question.per_request, 1)
            return {
                rate: predictions / result.seconds,
                **{f"{name} ms": result.latency_ms.get(name, float("nan")) for name in ("p50", "p95", "p99")},
                "errors": result.errors,
                "CPU s per 1,000 predictions": 1000 * used.cpu_s / predictions,
                "of the load generator": 1000 * result.cpu_s / predictions,
                "peak MiB": used.peak_mib,
            }

        return run

    def _forget(self) -> None:
        with redis.Redis.from_url(self.home.endpoints.redis_url) as client:
            client.flushall()

    def _load(
        self,
        server: Server,
        question: Question,
        connections: int,
        students: Sequence[str],
        *,
        seconds: float,
        cyclic: bool = False,
    ) -> LoadResult:
        bodies = question.bodies(students)
        plan = LoadPlan(
            host=server.host,
            port=server.port,
            path=question.path,
            token=self.home.token,
            bodies=bodies,
            connections=min(connections, len(bodies)),
            seconds=seconds,
            cyclic=cyclic,
        )
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.load_generator"],
            input=encode(plan),
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            msg = f"The load generator failed: {done.stderr[-2000:]}"
            raise AssertionError(msg)
        result = LoadResult(**json.loads(done.stdout))
        if not result.answered:
            msg = f"{server.name} answered nothing: statuses {result.statuses}, {result.lost} without an answer"
            raise AssertionError(msg)
        return result
