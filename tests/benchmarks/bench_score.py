"""`score`: a whole district from Parquet to Parquet, against bare ONNX Runtime on the same cores."""

import itertools
import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from edupulse_ml.core.sequences import SequenceBatch, last_windows
from edupulse_ml.core.weeks import day_from_number
from edupulse_ml.models.artifact import ModelArtifact
from jobs.bulk.folders import ChunkFolder
from jobs.bulk.window_files import STUDENTS_PER_FILE, WindowsDescription, write_windows
from tests.benchmarks.ceiling import ceiling, save_inputs
from tests.benchmarks.contenders import Case, Contender, Figures
from tests.benchmarks.district import LAST_WEEK, SEED, ZONE
from tests.benchmarks.experiment import save_artifact, train_artifact, training_set
from tests.benchmarks.measuring import stopwatch, watched
from tests.benchmarks.setting import BenchSetting

HEADLINE: Final = "students/s"
_EDUPULSE: Final = Path(sys.executable).parent / "edupulse"
_SIZES: Final = (10_000, 100_000, 1_000_000)
_CEILING_STUDENTS: Final = 4_096
_RECENT_DAYS: Final = 70


def cases(setting: BenchSetting) -> Generator[Case]:
    """One case per number of students. The windows are those of a synthetic district, over and over."""
    found = training_set(setting.size(1_500, small=300), window_weeks=20, epochs=setting.size(5, small=1))
    artifact = train_artifact(found, seed=SEED)
    windows = _recent(last_windows(found.experiment.train.block, window_weeks=found.options.window_weeks))
    arena = _Arena(setting, artifact, save_artifact(artifact, setting.home / "model"), windows)
    for students in (300,) if setting.small else _SIZES:
        source = arena.write(students)
        yield Case(
            f"Scoring of {students:,} students, windows of {found.options.window_weeks} weeks",
            [
                Contender("EduPulse, Parquet to Parquet", lambda source=source: arena.score(source)),
                Contender("bare ONNX Runtime, inputs in memory", arena.bare),
            ],
            headline=HEADLINE,
            notes=(
                "`edupulse score --from --to`, its start (and Ray's, from 200,000 students on) and reports included.",
                "Once running: between the first and the last file written. Bare: the forward alone on every core.",
                "Memory: all processes of the run, shared pages counted once, in the second and in the last quarter.",
            ),
            warm_up=False,
        )


def _recent(batch: SequenceBatch) -> SequenceBatch:
    """Students with a full window that ends shortly before the last week."""
    keep = (batch.week.max(axis=1) >= LAST_WEEK - _RECENT_DAYS) & (batch.length == batch.week.shape[1])
    return batch.select(np.flatnonzero(keep))


@dataclass
class _Arena:
    """The model and windows that all rounds share."""

    setting: BenchSetting
    artifact: ModelArtifact
    model: Path
    windows: SequenceBatch

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._inputs = self.setting.home / "inputs.npz"
        save_inputs(self.artifact.norms.prepare(self._repeated(0, _CEILING_STUDENTS)), self._inputs)

    def write(self, students: int) -> Path:
        """A folder of windows of so many students."""
        contract = self.artifact.contract
        sunday = day_from_number(LAST_WEEK + 6)
        described = WindowsDescription(
            district="bench",
            timezone=str(ZONE),
            contract_fingerprint=contract.fingerprint,
            window_weeks=contract.window_weeks,
            through_week=LAST_WEEK,
            as_of=datetime(sunday.year, sunday.month, sunday.day, 12, tzinfo=UTC) + timedelta(days=2),
        )
        folder = ChunkFolder(self.setting.home / f"windows-{students}", described.identity())
        with folder.exclusive():
            folder.begin(again=False)
            for number, start in enumerate(range(0, students, STUDENTS_PER_FILE)):
                stop = min(start + STUDENTS_PER_FILE, students)
                ids = [f"s{student:08d}" for student in range(start, stop)]
                write_windows(folder.path / f"{number:06d}.parquet", ids, self._repeated(start, stop))
            folder.finish({"students": students})
        return folder.path

    def score(self, source: Path) -> Figures:
        """One run of the command over all windows of `source`."""
        target = self.setting.home / f"scores-{next(self._numbers)}"
        place = "auto" if self.setting.with_ray else "here"
        command = [
            str(_EDUPULSE), "score", "--from", str(source), "--to", str(target), "--model", str(self.model),
            "--on", place, "--top", "0",
        ]  # fmt: skip
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("EDUPULSE_", "MLFLOW_", "RAY_"))}
        environment = {**kept, "EDUPULSE_HOME": str(self.setting.home), "OMP_NUM_THREADS": "1"}
        with stopwatch() as watch:
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            with watched(lambda: [process.pid]) as used:
                output, _ = process.communicate()
        files = sorted(target.glob("*.parquet"), key=lambda path: path.stat().st_mtime)
        rows = {path: pq.read_metadata(path).num_rows for path in files}
        expected = sum(pq.read_metadata(path).num_rows for path in source.glob("*.parquet"))
        if process.returncode != 0 or sum(rows.values()) != expected:
            msg = f"edupulse score failed: {output.decode(errors='replace')[-2000:]}"
            raise AssertionError(msg)
        lasted = files[-1].stat().st_mtime - files[0].stat().st_mtime
        figures = {HEADLINE: expected / watch.wall_s, "seconds": watch.wall_s, "peak MiB": used.peak_mib}
        if lasted > 0:
            figures["students/s once running"] = (expected - rows[files[0]]) / lasted
        quarter = len(used.memory_mib) // 4
        if quarter:
            figures["MiB in the 2nd quarter"] = median(used.memory_mib[quarter : 2 * quarter])
            figures["MiB in the last quarter"] = median(used.memory_mib[-quarter:])
        for path in target.iterdir():
            path.unlink()
        return figures

    def bare(self) -> Figures:
        """Students per second of the forward alone on every core."""
        cores = len(os.sched_getaffinity(0))
        rate = ceiling(self.model, self._inputs, processes=cores, seconds=self.setting.size(5, small=1))
        return {HEADLINE: rate, "students/s once running": rate}

    def _repeated(self, start: int, stop: int) -> SequenceBatch:
        return self.windows.select(np.arange(start, stop) % self.windows.n_examples)
