"""How a benchmark runs: a search for settings on Ray, then the reports of its outcomes, in turn or side by side."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from queue import Empty, Queue
from typing import Final

from edupulse_ml.config.settings import load_settings
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.models.protocol import Progress
from edupulse_ml.training.search.searching import Search, SearchOptions, SearchPlace, open_search
from edupulse_ml.training.search.study import TrialRecord, holds_study
from jobs.benchmark_trial import BenchmarkTrial, ModelSettings, Step
from jobs.wiring import connected_to_ray

SEARCHED: Final = ("gru", "boosted")
_POLL_S: Final = 0.5

_Told = tuple[int, str | None]
"""Position of the outcome, and the step that begins; None: one piece of the step is done."""


@dataclass(frozen=True)
class Shown:
    """Shows one part of the work."""

    step: Step
    progress: Progress


Watch = Callable[[str], Shown]
"""From the name of a part of the work to what shows it."""


def search_settings(trial: BenchmarkTrial, *, folder: Path, watch: Watch) -> ModelSettings:
    """The best settings of the networks and of LightGBM, each of at least `trial.options.trials` trials on Ray, kept in
    `folder`; trials that are there already are not repeated. LightGBM is searched as the rival is, free of directions.

    Raises: see `open_search` and `connected_to_ray`.
    """
    done = {strategy: _search(trial, strategy, folder=folder, watch=watch) for strategy in SEARCHED}
    boosted = replace(done["boosted"].winner.boosted, threads=ModelSettings().boosted.threads)
    return ModelSettings(
        done["gru"].winner.champion.training, boosted, {name: search.study.done for name, search in done.items()}
    )


def _search(trial: BenchmarkTrial, strategy: str, *, folder: Path, watch: Watch) -> Search:
    place = folder / strategy
    shown = watch(f"search of {strategy}")
    shown.step("reading what trials read")
    search = open_search(
        trial.cohorts(),
        tasks=trial.tasks,
        base=trial.start(strategy, ModelSettings(), monotone=False),
        options=SearchOptions(trial.options.trials),
        place=SearchPlace(place, resume=holds_study(place)),
    )

    def ended(record: TrialRecord) -> None:
        reached = "" if record.value is None else f" at {record.value:.4f}"
        shown.step(f"{search.study.done} of {trial.options.trials}: trial {record.number} {record.state}{reached}")

    with connected_to_ray(load_settings(), needed=True):
        if not search.run(ended=ended):
            raise KeyboardInterrupt
    return search


def reports_in_turn(
    trials: Sequence[BenchmarkTrial], settings: ModelSettings, *, created_at: str, watch: Watch
) -> list[EvaluationReport]:
    """The report of each outcome, one after the other."""
    found: list[EvaluationReport] = []
    for trial in trials:
        shown = watch(trial.name)
        found.append(trial.report(settings, created_at=created_at, step=shown.step, progress=shown.progress))
    return found


def reports_side_by_side(
    trials: Sequence[BenchmarkTrial], settings: ModelSettings, *, created_at: str, watch: Watch
) -> list[EvaluationReport]:
    """The same, each in a process of its own."""
    shown = [watch(trial.name) for trial in trials]
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(len(trials), mp_context=context) as pool:
        told: Queue[_Told] = manager.Queue()
        running = [
            pool.submit(_report, trial, settings, created_at, position, told) for position, trial in enumerate(trials)
        ]
        while not all(future.done() for future in running):
            _pass_on(told, shown)
        return [_report_of(future) for future in running]


def _report(
    trial: BenchmarkTrial, settings: ModelSettings, created_at: str, position: int, told: "Queue[_Told]"
) -> str:
    """The report as JSON: its read-only mappings do not travel between processes."""
    return trial.report(
        settings,
        created_at=created_at,
        step=lambda name: told.put((position, name)),
        progress=lambda _: told.put((position, None)),
    ).to_json()


def _report_of(future: "Future[str]") -> EvaluationReport:
    return EvaluationReport.from_json(future.result())


def _pass_on(told: "Queue[_Told]", shown: Sequence[Shown]) -> None:
    try:
        position, name = told.get(timeout=_POLL_S)
    except Empty:
        return
    if name is None:
        shown[position].progress({})
    else:
        shown[position].step(name)
