"""`edupulse benchmark`: honest figures on a public data set, one line per model and task, and a report."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edupulse_ml.config.settings import load_settings
from edupulse_ml.core.clock import SystemClock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.evaluation.report import POOLED, EvaluationReport, Figure, GroupResult, model_title
from jobs.progress import progress_bars
from jobs.stack.paths import StackPaths

app = typer.Typer(help="Train and test on a public data set.", no_args_is_help=True)


@app.callback()
def benchmark() -> None:
    """Train and test on a public data set."""


@app.command()
def oulad(  # noqa: PLR0913 - one argument per option of the command
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the OULAD tables.")],
    *,
    train: Annotated[str, typer.Option(help="Presentations to learn from, e.g. 2013B,2013J.")] = "2013B,2013J",
    test: Annotated[str, typer.Option(help="Presentations to test on.")] = "2014B",
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Networks to average.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs per network.")] = 50,
    trials: Annotated[
        int, typer.Option(min=0, help="Trials of a search on Ray, for the networks and for LightGBM each; 0: none.")
    ] = 0,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Judge the ensemble with the settings that the search started from, too.")
    ] = False,
    searches: Annotated[
        Path | None, typer.Option(help="Folder that keeps the trials, and has those to go on from.")
    ] = None,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Fit withdrawal and failure at once, in two processes.")
    ] = False,
    replicates: Annotated[int, typer.Option(min=10, help="Resamplings of people for the intervals.")] = 1000,
    out: Annotated[Path | None, typer.Option(help="Where to write the report as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Where to write the report as HTML.")] = None,
) -> None:
    """Train on earlier presentations, test on a later one; people of the test are removed from training."""
    from edupulse_ml.evaluation.html import report_html
    from jobs.benchmark_oulad import load_benchmark, run_benchmark, shown_order
    from jobs.benchmark_runs import Shown
    from jobs.benchmark_trial import BenchmarkOptions

    options = BenchmarkOptions(
        train=_names(train),
        test=_names(test),
        seeds=seeds,
        epochs=epochs,
        replicates=replicates,
        trials=trials,
        defaults=defaults,
    )
    created_at = SystemClock().now().isoformat(timespec="seconds")
    with progress_bars(Console(stderr=True)) as bars:

        def watch(part: str) -> Shown:
            doing = bars.add_task(part, total=None)
            return Shown(lambda step: bars.update(doing, description=f"{part}: {step}"), lambda _: bars.advance(doing))

        watch("OULAD").step("reading and computing features")
        data = load_benchmark(folder, [*options.train, *options.test])
        report = run_benchmark(
            data,
            options=options,
            created_at=created_at,
            watch=watch,
            searches=searches or StackPaths.of(load_settings().home).home / "benchmark-oulad",
            side_by_side=side_by_side,
        )
    report = shown_order(report)
    console = Console(soft_wrap=True)
    for line in benchmark_lines(report):
        console.print(line, highlight=False, markup=False)
    for path, text in ((out, report.to_json), (html, lambda: report_html(report))):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(), encoding="utf-8")
            console.print(f"Written: {path}", highlight=False, markup=False)


def benchmark_lines(report: EvaluationReport) -> list[str]:
    """One line per task and model: pooled AUC and average precision with intervals, base rate and rows, then AUC and
    average precision at each landmark.
    """
    lines: list[str] = []
    for task in report.tasks:
        for model in report.models:
            pooled = report.group(model=model, task=task.name, landmark=POOLED)
            parts = [f"{task.name:<18}{model_title(model):<22}", _pooled(pooled)]
            for landmark in report.landmarks:
                group = report.group(model=model, task=task.name, landmark=landmark)
                parts.append(f"{landmark}: {_short(group, 'auc')}/{_short(group, 'average_precision')}")
            lines.append("  ".join(parts))
    return lines


def _pooled(group: GroupResult) -> str:
    if group.reason is not None or group.base_rate is None:
        return group.reason or "not told"
    auc, precision = group.figures["auc"], group.figures["average_precision"]
    return f"AUC {_bracketed(auc)}  AP {_bracketed(precision)}  base {_plain(group.base_rate)}  n {group.n_rows:,}"


def _bracketed(figure: Figure) -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return figure.reason or "–"
    return f"{_plain(figure.value)} [{_plain(figure.low)}, {_plain(figure.high)}]"


def _short(group: GroupResult, metric: str) -> str:
    figure = group.figures.get(metric)
    return "–" if figure is None or figure.value is None else _plain(figure.value)


def _plain(value: float) -> str:
    """Three decimals without the leading zero, as tables of the field print them."""
    text = f"{value:.3f}"
    return text.removeprefix("0") if value < 1 else text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        msg = "Name at least one presentation, e.g. 2013B or 2013B,2013J."
        raise InvalidInputError(msg)
    return names


if __name__ == "__main__":
    app()
