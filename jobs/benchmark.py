"""`edupulse benchmark`: honest figures on a public data set, one line per model and task, and a report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edupulse_ml.core.clock import SystemClock
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.evaluation.report import POOLED, EvaluationReport, Figure, GroupResult, model_title

app = typer.Typer(help="Train and test on a public data set.", no_args_is_help=True)


@app.callback()
def benchmark() -> None:
    """Train and test on a public data set."""


@app.command()
def oulad(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the OULAD tables.")],
    *,
    train: Annotated[str, typer.Option(help="Presentations to learn from, e.g. 2013B,2013J.")] = "2013B,2013J",
    test: Annotated[str, typer.Option(help="Presentations to test on.")] = "2014B",
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Networks to average.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs per network.")] = 50,
    replicates: Annotated[int, typer.Option(min=10, help="Resamplings of people for the intervals.")] = 1000,
    out: Annotated[Path | None, typer.Option(help="Where to write the report as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Where to write the report as HTML.")] = None,
) -> None:
    """Train on earlier presentations, test on a later one; people of the test are removed from training."""
    from edupulse_ml.evaluation.html import report_html
    from jobs.benchmark_oulad import BenchmarkOptions, load_benchmark, run_benchmark, shown_order

    options = BenchmarkOptions(
        train=_names(train), test=_names(test), seeds=seeds, epochs=epochs, replicates=replicates
    )
    created_at = SystemClock().now().isoformat(timespec="seconds")
    with _bar() as bar:
        shown = _Shown(bar, "reading OULAD and computing features")
        data = load_benchmark(folder, [*options.train, *options.test])
        report = shown_order(
            run_benchmark(data, options=options, created_at=created_at, step=shown.step, progress=shown.progress)
        )
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


class _Shown:
    """What is being done, and the epoch it has come to."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar, self._name = bar, name
        self._doing = bar.add_task(name, total=None)

    def step(self, name: str) -> None:
        self._name = name
        self._bar.update(self._doing, description=name)

    def progress(self, metrics: Mapping[str, float]) -> None:
        if "epoch" in metrics:
            self._bar.update(self._doing, description=f"{self._name}, epoch {metrics['epoch']:.0f}")


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


if __name__ == "__main__":
    app()
