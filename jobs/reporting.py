"""What a run leaves behind: a tracked run with its files, a registered version, and a table on the terminal."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.contract import current_contract
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.weeks import day_from_number
from edupulse_ml.evaluation.html import report_html
from edupulse_ml.evaluation.model_card import model_card_html
from edupulse_ml.evaluation.plots import report_pngs
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.evaluation.table import report_table
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from edupulse_ml.registry.models import ModelRegistry
from edupulse_ml.training.strategies import StrategyOptions
from jobs.experiment import Experiment
from jobs.fitting import FittedModels
from jobs.stored_model import StoredModel
from jobs.tracking import Tracking

TEST_YEAR: Final = "test_year"
SPLIT_SEED: Final = "split_seed"
STRATEGY: Final = "strategy"
"""Tags, also in the artefact's metadata, by which the same split can be made again."""

_CALIBRATION_METRICS: Final = ("brier", "ece", "calibration_slope", "calibration_intercept")
_REPOSITORY = Path(__file__).parent.parent


def git_commit() -> str:
    """The commit of this checkout, "unknown" outside one."""
    try:
        found = subprocess.run(  # noqa: S603 - constant arguments
            ["git", "-C", str(_REPOSITORY), "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def run_tags(settings: Settings, experiment: Experiment) -> dict[str, str]:
    """Where a model came from: commit, contract, and the window of the data it learned from."""
    weeks = experiment.train.block.week[experiment.train.eligible]
    first, last = (day_from_number(int(week) + CUTOFF_DAYS_AFTER_MONDAY).isoformat() for week in _ends(weeks))
    contract = current_contract(
        window_weeks=experiment.window_weeks, objective_discipline_only=settings.objective_discipline_only
    )
    return {
        "district": settings.district,
        "git_commit": git_commit(),
        "contract_version": contract.version,
        "contract_fingerprint": contract.fingerprint,
        "data_first_cutoff": first,
        "data_last_cutoff": last,
        "split": experiment.split.description,
    }


def record_run(
    registry: ModelRegistry,
    tracking: Tracking,
    stored: StoredModel,
    *,
    name: str,
    fitted: FittedModels,
    options: StrategyOptions,
    tags: Mapping[str, str],
    reports: Mapping[str, EvaluationReport],
) -> ModelVersion:
    """Track the run with parameters, metrics per epoch, reports, plots and the artefact, and register the artefact.
    The reports are written beside the stored model's folder; that of the test people is `evaluation.json`,
    and in words for a school board `model-card.html`.
    """
    files = stored.folder.with_name("evaluation")
    files.mkdir()
    for part, report in reports.items():
        stem = "evaluation" if part == "test" else part
        (files / f"{stem}.json").write_text(report.to_json(), encoding="utf-8")
        (files / f"{stem}.html").write_text(report_html(report), encoding="utf-8")
    (files / "model-card.html").write_text(model_card_html(reports["test"]), encoding="utf-8")
    for plot, png in report_pngs(reports["test"]).items():
        (files / f"{plot}.png").write_bytes(png)
    with tracking.run(name) as run:
        run.set_tags(tags)
        run.log_params(options.as_parameters())
        for member, history in enumerate(fitted.trained.history):
            for epoch, metrics in enumerate(history):
                run.log_metrics(_of_member(metrics, member), step=epoch)
        run.log_metrics({**stored.metrics, **headline_metrics(reports["test"])})
        run.log_folder(files, artifact_path="evaluation")
        return registry.register(stored.folder, run, tags=tags)


def _of_member(metrics: Mapping[str, float], member: int) -> Mapping[str, float]:
    """The first network's metrics under their own names, those of the others under `network-1.` and so on."""
    return {f"network-{member}.{name}": value for name, value in metrics.items()} if member else metrics


def headline_metrics(report: EvaluationReport) -> dict[str, float]:
    """Pooled figures of every model and task, named `test.<model>.<task>.<metric>`; no calibration where follow-up was
    shorter than the task.
    """
    found: dict[str, float] = {}
    for model in report.models:
        for task in report.tasks:
            group = report.group(model=model, task=task.name)
            for metric, figure in group.figures.items():
                if figure.value is not None and not (task.note and metric in _CALIBRATION_METRICS):
                    found[f"test.{model}.{task.name}.{metric}"] = figure.value
    return found


def show_report(report: EvaluationReport, console: Console) -> None:
    """The champion beside its rivals, and the sentences that a school board reads."""
    console.print(report_table(report))


def _ends(weeks: np.ndarray) -> tuple[int, int]:
    return int(weeks.min()), int(weeks.max())
