"""`edupulse evaluate`: judge a registered model beside rivals fitted anew on the same split."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.clock import Clock, SystemClock
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation.html import report_html
from edupulse_ml.evaluation.model_card import model_card_html
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.models.rivals.boosted import Boosted
from edupulse_ml.models.strategies import load_strategy
from edupulse_ml.training.pipeline import RivalOptions, fit_rivals
from jobs.experiment import History, Predict, default_tasks, judge, set_up
from jobs.history import load_history
from jobs.materialise import materialise_pending
from jobs.preflight import CheckOption, check_before, model_check, serving_checks
from jobs.progress import progress_bars
from jobs.promotion.reasons import reasons_on_test
from jobs.reporting import SPLIT_SEED, TEST_YEAR, show_report
from jobs.unseen_schools import SchoolOptions, boosted_trees, judge_short_records, judge_unseen_schools
from jobs.wiring import JobContext, open_context


def evaluate(
    *,
    model: Annotated[str | None, typer.Option(help="Registered version; default: the champion.")] = None,
    replicates: Annotated[int, typer.Option(min=10, help="Resamplings of students for the intervals.")] = 1000,
    schools: Annotated[
        int,
        typer.Option(min=0, help="Schools to hold out one by one, fitting LightGBM without each; 0: none are."),
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json, report.html and model-card.html.")] = None,
    check: CheckOption = False,
) -> None:
    """Judge a registered model on the test year and people of its own split, with the outcomes known by now."""
    settings, console = load_settings(), Console()
    if check:
        check_before(settings, console, *serving_checks(), model_check(model))
        return
    report = asyncio.run(
        evaluate_model(
            settings,
            version=ModelVersion(model) if model else None,
            options=EvaluationRun(replicates=replicates, schools=schools),
            clock=SystemClock(),
            console=console,
        )
    )
    show_report(report, console)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(report.to_json(), encoding="utf-8")
        (out / "report.html").write_text(report_html(report), encoding="utf-8")
        (out / "model-card.html").write_text(model_card_html(report), encoding="utf-8")
        console.print(f"Written to {out}: report.json, report.html, model-card.html", soft_wrap=True)


@dataclass(frozen=True)
class EvaluationRun:
    """`replicates` resamplings of students; `schools` to hold out one by one (0: none, and nothing is fitted for it)."""

    replicates: int = 1000
    schools: int = 0


async def evaluate_model(
    settings: Settings,
    *,
    version: ModelVersion | None,
    options: EvaluationRun,
    clock: Clock,
    console: Console,
) -> EvaluationReport:
    """The report of one model and its rivals.

    Raises:
        NotFoundError: no such version, or no champion.
        NotEnoughDataError: too little history.
    """
    async with open_context(settings, clock=clock) as context:
        await materialise_pending(context, as_of=clock.now(), console=console)
        with progress_bars(console) as bars:
            reading = bars.add_task("reading student-weeks", total=1.0)
            history = await load_history(
                context, as_of=clock.now(), on_share=lambda share: bars.update(reading, completed=share)
            )
            judging = bars.add_task("fitting rivals and judging", total=None)
            report = await asyncio.to_thread(_judge, context, history, version=version, options=options)
            bars.update(judging, total=1, completed=1)
        return report


def _judge(
    context: JobContext, history: History, *, version: ModelVersion | None, options: EvaluationRun
) -> EvaluationReport:
    fetched = context.registry.fetch(version)
    artifact = load_strategy(fetched.path, threads=0)
    artifact.contract.require_match(context.contract)
    # Another split would judge the model on people whom it has learned from.
    seed = int(artifact.metadata[SPLIT_SEED])
    experiment = set_up(
        history,
        test_year=int(artifact.metadata[TEST_YEAR]) if artifact.metadata[TEST_YEAR] else None,
        tasks=default_tasks(artifact.task),
        window_weeks=artifact.contract.window_weeks,
        seed=seed,
    )
    rivals = fit_rivals(
        experiment.train,
        experiment.calibration,
        tasks=experiment.tasks,
        # A year with too few events to calibrate on can still be judged by ranking.
        options=RivalOptions(experiment.window_weeks, seed, allow_small=True),
        progress=lambda _: None,
        held_out=experiment.held_out,
    )
    models: Mapping[str, Predict] = {artifact.strategy: artifact.predict} | {
        rival.name: rival.predict for rival in rivals
    }
    report = judge(
        experiment,
        models,
        title=f"District {context.settings.district}, model version {fetched.version}",
        created_at=context.clock.now().isoformat(timespec="seconds"),
        replicates=options.replicates,
        seed=0,
        champion=artifact.strategy,
    )
    elsewhere = judge_short_records(
        experiment, artifact.predict, name=artifact.strategy, replicates=options.replicates, seed=seed
    )
    if options.schools:
        judged = SchoolOptions(max_schools=options.schools, replicates=options.replicates, seed=seed)
        trees = boosted_trees(experiment, seed=seed)
        elsewhere = (*judge_unseen_schools(experiment, trees, name=Boosted.name, options=judged), *elsewhere)
    return replace(report, faithfulness=reasons_on_test(experiment, artifact), generalisation=elsewhere)


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["evaluate", *sys.argv[1:]])
