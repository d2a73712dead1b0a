"""`python -m jobs.capacity`: cores, memory, disk and money for a district, a region and a nation, in Markdown.

All figures stand in `MEASURED`, `USE` and `PRICES`; `docs/capacity.md` holds the table that they make.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import typer


@dataclass(frozen=True)
class Measured:
    """What one piece of work costs, on one core of the machine named in `docs/capacity.md`.

    `*_s` are CPU seconds of all processes that take part: ours, PostgreSQL's, Redis' and HAProxy's; `*_bytes` are bytes
    on disk with their indexes.
    """

    import_s_per_row: float = 4.0 / 1_400_000
    """Attendance into new months (migration 0003)."""
    features_s_per_student_week: float = 1 / 300_000
    """`compute_features` over `one_year(1000)` of `tests/benchmarks/district.py`."""
    score_s_per_student: float = 40e-6 + 23e-6 + (15e-6 + 36e-6)
    """Forward of 1,000 students, stored window read, prediction and audit row written; batches of 64."""
    reasons_s_per_student: float = 1.6e-3
    """Batches of 100."""
    request_s: float = 330e-6
    """HTTP through HAProxy and the gateway (`/health`, 32 connections; docs/experiments.md), without the scoring."""
    records_bytes_per_student_week: float = 1_675.0
    """Attendance, grades and other records of the demo's district, 305 MB for 183,118 student-weeks."""
    rows_per_student_week: float = 9.6
    """Of the same records."""
    features_bytes_per_student_week: float = 472.0
    window_bytes_per_student: float = 2_100.0
    """The stored last window, compressed."""
    prediction_bytes: float = 455.0
    reasons_bytes: float = 342.0
    """What three reasons and two protective factors add to a prediction."""
    audit_bytes: float = 292.0
    replica_mib: float = 280.0
    """Resident memory of a replica with torch."""


@dataclass(frozen=True)
class Use:
    """How schools use it: assumptions, to be replaced by those at hand."""

    weeks_a_year: int = 38
    years_kept: int = 4
    scored_per_week: float = 5.0
    """Every student, every school night."""
    share_explained: float = 0.1
    """Of the students scored: those flagged."""
    interactive_per_week: float = 1.0
    """Single predictions asked for per student and week."""
    peak_share: float = 0.05
    """Of a week's single predictions: those of its busiest hour (Monday morning)."""
    nightly_hours: float = 6.0
    """Time for import, features and scoring of the whole population after the day's last record."""
    utilisation: float = 0.5
    """Of the cores at the peak: the rest is for a lost node, for bursts, and for what was not measured."""


@dataclass(frozen=True)
class Prices:
    """List prices in dollars a month: AWS us-east-1 on demand, m7i and gp3, 730 hours."""

    core: float = 36.8
    """m7i: $0.0504 an hour and virtual core, with 4 GiB."""
    gib_per_core: float = 4.0
    disk_gb: float = 0.08


@dataclass(frozen=True)
class Size:
    """One population, as districts of ten thousand students."""

    name: str
    students: int


@dataclass(frozen=True)
class Capacity:
    """What a population needs. `nightly_core_h` is the work of one night, `cores` what must be there for it and for the
    busiest hour; `disk_gb` after `Use.years_kept` years.
    """

    size: Size
    peak_per_s: float
    peak_cores: float
    nightly_core_h: float
    cores: int
    memory_gib: int
    disk_gb: float
    dollars: float


MEASURED: Final = Measured()
USE: Final = Use()
PRICES: Final = Prices()
SIZES: Final = (Size("district", 10_000), Size("region", 500_000), Size("nation", 50_000_000))
LEAST_CORES: Final = 4
"""Two nodes of two cores: one may be lost."""


def capacity_of(size: Size, *, measured: Measured = MEASURED, use: Use = USE, prices: Prices = PRICES) -> Capacity:
    """What `size` needs; pure arithmetic over the three tables."""
    peak_per_s = size.students * use.interactive_per_week * use.peak_share / 3_600
    peak_cores = peak_per_s * (measured.request_s + measured.score_s_per_student + measured.reasons_s_per_student)
    rows = measured.rows_per_student_week / 5
    # A night's new rows touch every student's current week; what it reaches back to is within the window of 20 weeks.
    night_s = size.students * (
        rows * measured.import_s_per_row
        + 20 * measured.features_s_per_student_week
        + measured.score_s_per_student
        + use.share_explained * measured.reasons_s_per_student
    )
    wanted = max(peak_cores, night_s / 3_600 / use.nightly_hours) / use.utilisation
    cores = max(LEAST_CORES, 2 * math.ceil(wanted / 2))
    disk_gb = _disk_gb(size, measured, use)
    hot_gib = size.students * measured.window_bytes_per_student * 1.5 / 2**30
    memory_gib = math.ceil(max(cores * prices.gib_per_core, hot_gib + cores * measured.replica_mib / 1_024))
    paid_cores = max(cores, memory_gib / prices.gib_per_core)  # memory is bought with cores
    dollars = paid_cores * prices.core + disk_gb * prices.disk_gb
    return Capacity(size, peak_per_s, peak_cores, night_s / 3_600, cores, memory_gib, disk_gb, dollars)


def _disk_gb(size: Size, measured: Measured, use: Use) -> float:
    predictions = use.scored_per_week + use.interactive_per_week
    explained = use.scored_per_week * use.share_explained + use.interactive_per_week
    per_week = (
        measured.records_bytes_per_student_week
        + measured.features_bytes_per_student_week
        + predictions * (measured.prediction_bytes + measured.audit_bytes)
        + explained * measured.reasons_bytes
    )
    per_student = measured.window_bytes_per_student + per_week * use.weeks_a_year * use.years_kept
    return size.students * per_student / 1e9


def table(capacities: Sequence[Capacity]) -> str:
    """`capacities` as a Markdown table."""
    lines = [
        "| | students | busiest hour, predictions/s | one night, core-hours | cores | memory, GiB | disk, GB | $ a month |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {item.size.name} | {item.size.students:,} | {item.peak_per_s:,.1f} | {item.nightly_core_h:,.2f} | "
        f"{item.cores:,} | {item.memory_gib:,} | {item.disk_gb:,.0f} | {item.dollars:,.0f} |"
        for item in capacities
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    typer.echo(table([capacity_of(size) for size in SIZES]))


if __name__ == "__main__":
    main()
