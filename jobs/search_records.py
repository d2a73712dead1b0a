"""What a search leaves in the registry's tracking: a run per trial below its own, pictures, and a table on the terminal."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.registry.nested import STATUS_OF_STATE, NestedRun, record_nested
from edupulse_ml.registry.tracking import TrackedRun
from edupulse_ml.training.search.figures import draw_search, importance
from edupulse_ml.training.search.searching import Search
from edupulse_ml.training.search.study import TrialRecord
from jobs.tuning import differences_from_defaults

PARENT_RUN: Final = "mlflow_run"
"""Note of a study that names its run."""

_RECORDED: Final = "recorded"
_OBJECTIVE: Final = "validation_mean_auc"


class SearchRecords:
    """Records each trial once, whichever driver ran it."""

    def __init__(self, search: Search, parent: TrackedRun) -> None:
        self._search, self._parent = search, parent
        search.study.note(PARENT_RUN, parent.run_id)
        self._recorded: set[int] = set(json.loads(search.study.noted(_RECORDED) or "[]"))

    def catch_up(self) -> None:
        """Record the trials that an earlier driver ended but could not record any more."""
        for trial in self._search.study.trials:
            if trial.state in STATUS_OF_STATE and trial.number not in self._recorded:
                self.trial(trial)

    def trial(self, trial: TrialRecord) -> None:
        """Record a trial that has ended."""
        nested = NestedRun(
            name=f"trial {trial.number}",
            status=STATUS_OF_STATE[trial.state],
            params=trial.parameters,
            metrics={_OBJECTIVE: trial.objectives},
            tags={"state": trial.state, "trial": str(trial.number)},
            seconds=trial.seconds,
        )
        record_nested(self._parent, nested)
        self._recorded.add(trial.number)
        self._search.study.note(_RECORDED, json.dumps(sorted(self._recorded)))

    def summary(self) -> None:
        """Pictures, the weight of each setting, and how the trials ended, on the search's own run."""
        study = self._search.study
        states = [trial.state for trial in study.trials]
        self._parent.log_metrics(
            {f"trials.{state}": float(states.count(state)) for state in sorted(set(states))}
            | {f"importance.{name}": share for name, share in importance(study).items()}
        )
        with tempfile.TemporaryDirectory(prefix="edupulse-search-") as scratch:
            if draw_search(study, Path(scratch)):
                self._parent.log_folder(Path(scratch), artifact_path="search")

    def winner(self) -> None:
        """The winner's settings and objective beside those of the start, on the search's own run."""
        study = self._search.study
        best, start = study.best, study.start
        # Tags, because a resumed search may find another winner, and MLflow never changes a parameter.
        settings = {f"winner.{name}": f"{value:.6g}" for name, value in best.parameters.items()}
        self._parent.set_tags({"winner": str(best.number), **settings})
        if best.value is not None:
            self._parent.log_metrics({_OBJECTIVE: best.value})
        if start is not None and start.value is not None:
            self._parent.log_metrics({f"start.{_OBJECTIVE}": start.value})


def show_search(search: Search, console: Console) -> None:
    """How the trials ended, and the winner's settings beside those of the start."""
    study = search.study
    best, start, share = study.best, study.start, importance(study)
    states = [trial.state for trial in study.trials]
    counted = ", ".join(f"{states.count(state)} {state}" for state in ("finished", "pruned", "failed"))
    table = Table(
        "setting", "start", f"trial {best.number}", "weight", title=f"Search of {study.done} trials: {counted}"
    )
    for name, value in best.parameters.items():
        before = study.trials[0].parameters[name]
        table.add_row(name, f"{before:.4g}", f"{value:.4g}", f"{share[name]:.0%}" if name in share else "")
    reached = "" if start is None or start.value is None else f"{start.value:.4f}"
    table.add_row("mean AUC on validation people", reached, f"{best.value:.4f}", "", style="bold")
    console.print(table)
    if not search.found_better:
        console.print("No trial was better than the settings that the search started from: the candidate has those.")


def show_candidate(
    version: ModelVersion, reports: Mapping[str, EvaluationReport], *, weeks: int, served_weeks: int, console: Console
) -> None:
    """What the winner gained on whom, and what to do with it. `weeks` is the length of its window."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    for people, report in reports.items():
        for found in differences_from_defaults(report):
            say(
                f"{people} people, {found.task}, {found.metric}: {found.difference:+.4f} "
                f"[{found.low:+.4f}, {found.high:+.4f}] beside the settings it started from"
            )
    say(f"Registered as version {version}, a candidate: `edupulse promote {version}` judges it.")
    if weeks != served_weeks:
        say(
            f"It reads {weeks} weeks and this district serves {served_weeks}: before promoting it, set "
            f"EDUPULSE_WINDOW_WEEKS={weeks}, run `edupulse materialise` and restart serving."
        )
