"""The candidate of a month: trained once per run, found again by its tag, and what was measured on its test year."""

import asyncio
import math
from typing import TYPE_CHECKING, Final

from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation import wording
from edupulse_ml.evaluation.report import EvaluationReport
from jobs.month.request import CandidateOptions
from jobs.month.results import Evaluated, ModelFigures, Trained
from jobs.month.running import Month
from jobs.month.work import MonthWork

if TYPE_CHECKING:
    from jobs.fitting import RayWorkers
    from jobs.train import TrainingRequest

MONTHLY_RUN: Final = "monthly.run"
"""Tag of a version: the run of the month that registered it."""
MONTH: Final = "monthly.month"

_SHOWN_METRICS: Final = ("auc", "average_precision", "precision_top5", "recall_top5", "ece", "calibration_slope")
_SHOWN_RIVALS: Final = ("lightgbm", "abc_rule")
_REPORT: Final = "evaluation/evaluation.json"


async def train_candidate(work: MonthWork, month: Month) -> Trained:
    """Train and register, unless an earlier try of this run has registered.

    Raises:
        NotEnoughDataError: too little to train honestly.
        DataBlockedError: something is wrong with the records that the request does not ignore.
    """
    options, number = work.request.candidate, str(month.run.run_id)
    found = await asyncio.to_thread(lambda: work.context.registry.find(tag=MONTHLY_RUN, value=number))
    if found is not None:
        work.console.print(f"Version {found} was registered by an earlier try of this run.")
        return Trained(found, options.strategy, found_again=True)
    from jobs.train import train_model

    trained = await train_model(
        work.context.settings, _training_request(work, month), clock=work.context.clock, console=work.console
    )
    return Trained(trained.version, options.strategy)


async def read_evaluation(work: MonthWork, month: Month) -> Evaluated:
    """What training measured on the test year, read back from the registered version.

    Raises:
        NotFoundError: the version has no report.
    """
    version = ModelVersion(month.of(Trained).version)
    text = await asyncio.to_thread(work.context.registry.read_text, version, _REPORT)
    if text is None:
        raise NotFoundError(f"Version {version} has no {_REPORT}: run the month with --again.")
    return summary(EvaluationReport.from_json(text))


def summary(report: EvaluationReport) -> Evaluated:
    """The trained model beside LightGBM and the ABC rule, pooled over the landmarks."""
    trained = report.context.champion
    models = [trained, *(rival for rival in _SHOWN_RIVALS if rival in report.models and rival != trained)]
    tasks = [task.name for task in report.tasks]
    measured = {
        f"{task}.{metric}": report.figure(metric, model=trained, task=task).value
        for task in tasks
        for metric in _SHOWN_METRICS
    }
    return Evaluated(
        model=trained,
        sentences=tuple(
            f"{wording.question(task)} {wording.of_hundred_flagged(report, task=task.name)}" for task in report.tasks
        ),
        rows=tuple(
            ModelFigures(
                model,
                task,
                {
                    metric: wording.with_interval(report.figure(metric, model=model, task=task))
                    for metric in _SHOWN_METRICS
                },
            )
            for task in tasks
            for model in models
        ),
        metrics={name: value for name, value in measured.items() if value is not None and math.isfinite(value)},
    )


def _training_request(work: MonthWork, month: Month) -> "TrainingRequest":
    from edupulse_ml.training.options import TrainingOptions
    from jobs.train import TrainingRequest

    options, settings = work.request.candidate, work.context.settings
    return TrainingRequest(
        TrainingOptions(
            window_weeks=settings.window_weeks,
            epochs=options.epochs,
            seed=options.seed,
            allow_small=options.allow_small,
        ),
        workers=None if options.workers == 0 else _workers(options, work, month),
        replicates=options.replicates,
        promote=False,
        strategy=options.strategy,
        seeds=options.seeds,
        ignored=work.request.ignored,
        tags={MONTHLY_RUN: str(month.run.run_id), MONTH: month.run.name},
    )


def _workers(options: CandidateOptions, work: MonthWork, month: Month) -> "RayWorkers":
    from jobs.fitting import RayWorkers

    # The same name in every try, so that a killed training goes on from its last checkpoint; on other records, or by
    # another release's options, it begins anew.
    name = f"month-{work.context.district_id}-{month.run.name}-{month.run.run_id.hex[:8]}"
    return RayWorkers(options.workers, options.gpu, work.context.paths.home / "ray-train", name)
