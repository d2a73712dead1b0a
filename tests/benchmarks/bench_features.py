"""`features`: student-weeks per second and core, one student to 100,000, against pandas and SQL."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Final

from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import PAD
from features.compute import DEFAULT_OPTIONS, compute_features
from jobs.stack.embedded import ensure_embedded
from tests.benchmarks.contenders import Case, Contender, Figures
from tests.benchmarks.district import LAST_WEEK, canonical_records, one_year, repeated
from tests.benchmarks.features_pandas import SUBSET, pandas_features
from tests.benchmarks.features_postgres import PostgresFeatures
from tests.benchmarks.measuring import cpu_seconds, stopwatch
from tests.benchmarks.setting import BenchSetting
from tests.fakes.feature_oracle import oracle_features

HEADLINE: Final = "student-weeks/s/core"
_FULL_SIZES: Final = (1, 10, 100, 1_000, 10_000, 100_000)
_SMALL_SIZES: Final = (1, 60)
_ORACLE_AT_MOST: Final = 10
_RIVALS_AT_MOST: Final = 10_000
_GENERATED_AT_MOST: Final = 10_000
"""Larger districts are this one, several times over."""
_NOTES: Final = (
    f"EduPulse and the oracle compute all 42 features, pandas and SQL these {len(SUBSET)}: {', '.join(SUBSET)}.",
    "Per core: CPU seconds of the process and, for SQL, of the server. Records are in memory, or in warm tables.",
)


def cases(setting: BenchSetting) -> Generator[Case]:
    """One case per number of students; each batch is repeated until it takes a measurable time."""
    sizes = _SMALL_SIZES if setting.small else _FULL_SIZES
    district = canonical_records(one_year(min(_GENERATED_AT_MOST, sizes[-1]))).records
    records = repeated(district, times=-(-sizes[-1] // district.n_students))
    with ExitStack() as stack:
        rivals = records.select(range(min(_RIVALS_AT_MOST, sizes[-1])))
        admin_url = ensure_embedded(setting.settings()).database_admin_url
        server = setting.postgres_pid()
        database = PostgresFeatures(admin_url or "", rivals)
        stack.callback(database.close)
        for students in sizes:
            some = records.select(range(students))
            weeks = int(compute_features(some, through_week=LAST_WEEK).n_steps.sum())
            repeats = setting.size(max(1, 2_000 // students), small=1)
            contenders = [Contender("EduPulse", _timed(lambda some=some: _ours(some), weeks, repeats))]
            if students <= _RIVALS_AT_MOST:
                few = max(1, repeats // 10)
                contenders.append(Contender("pandas", _timed(lambda some=some: _pandas(some), weeks, few)))
                contenders.append(
                    Contender("SQL", _on_server(lambda students=students: _sql(database, students), weeks, few, server))
                )
            if students <= _ORACLE_AT_MOST:
                contenders.append(Contender("pandas oracle", _timed(lambda some=some: _oracle(some), weeks, 1)))
            title = f"Features of {students:,} students, {weeks:,} student-weeks"
            yield Case(title, contenders, headline=HEADLINE, notes=_NOTES)


def _timed(work: Callable[[], int], weeks: int, repeats: int) -> Callable[[], Figures]:
    def run() -> Figures:
        with stopwatch() as watch:
            for _ in range(repeats):
                _require(work(), weeks)
        return _figures(weeks * repeats, watch.cpu_s, watch.wall_s, repeats)

    return run


def _on_server(work: Callable[[], int], weeks: int, repeats: int, pid: int) -> Callable[[], Figures]:
    def run() -> Figures:
        before = cpu_seconds([pid])
        with stopwatch() as watch:
            for _ in range(repeats):
                _require(work(), weeks)
        # The server counts its time in hundredths of a second; work that is too short for that is timed by the clock.
        server_s = max(cpu_seconds([pid]) - before, 0.0)
        cpu_s = watch.cpu_s + server_s if server_s >= 0.1 else watch.wall_s
        return _figures(weeks * repeats, cpu_s, watch.wall_s, repeats)

    return run


def _require(found: int, weeks: int) -> None:
    if found != weeks:
        msg = f"a contender found {found} student-weeks where there are {weeks}"
        raise AssertionError(msg)


def _figures(weeks: int, cpu_s: float, wall_s: float, repeats: int) -> Figures:
    return {HEADLINE: weeks / cpu_s, "ms of CPU per batch": 1000 * cpu_s / repeats, "student-weeks/s": weeks / wall_s}


def _ours(records: RecordSet) -> int:
    return int((compute_features(records, through_week=LAST_WEEK).week != PAD).sum())


def _pandas(records: RecordSet) -> int:
    return len(pandas_features(records, through_week=LAST_WEEK))


def _oracle(records: RecordSet) -> int:
    return int(oracle_features(records, through_week=LAST_WEEK, options=DEFAULT_OPTIONS).n_steps.sum())


def _sql(database: PostgresFeatures, students: int) -> int:
    return database.count(students, through_week=LAST_WEEK)
