"""`edupulse import`: records from files into the store."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.errors import DependencyDownError
from edupulse_ml.core.ids import StudentId
from edupulse_ml.core.ports import AnswerCache
from jobs.progress import progress_bars
from jobs.stack.paths import StackPaths

if TYPE_CHECKING:
    from edupulse_ml.connectors.importing import ImportSummary
    from edupulse_ml.connectors.table_files import OnProgress, ReadProgress
    from edupulse_ml.storage.loading import LoadSession, RecordLoader
    from jobs.wiring import JobContext

SOME_REJECTED = 1
"""Exit code when rows were rejected; the others are stored."""

app = typer.Typer(help="Load records into the store.", no_args_is_help=True)

RejectsOption = Annotated[
    Path | None, typer.Option(help="Where to list rejected rows; by default a file in the home folder.")
]


@app.callback()
def import_() -> None:
    """Load records; a row that cannot be used is listed with its reason and never stops the others."""


@app.command()
def csv(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of CSV or Parquet files, one per table.")],
    *,
    rejects: RejectsOption = None,
) -> None:
    """Import a folder of CSV or Parquet files (docs/import-format.md). The same folder twice changes nothing."""
    settings = load_settings()
    path = rejects or default_rejects_path(settings, folder.resolve().name)
    _finish(asyncio.run(import_csv(settings, folder, rejects_path=path, console=Console())))


@app.command()
def oulad(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the OULAD tables.")],
    *,
    presentations: Annotated[str, typer.Option(help="Presentations to import, e.g. 2013B,2013J.")],
    rejects: RejectsOption = None,
) -> None:
    """Import presentations of the Open University Learning Analytics Dataset."""
    settings = load_settings()
    names = tuple(name.strip() for name in presentations.split(",") if name.strip())
    path = rejects or default_rejects_path(settings, "oulad")
    _finish(
        asyncio.run(
            import_oulad_presentations(settings, folder, presentations=names, rejects_path=path, console=Console())
        )
    )


@app.command()
def feedback(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet file of outcomes and interventions.")],
    *,
    rejects: RejectsOption = None,
) -> None:
    """Import a list of outcomes and interventions (docs/feedback.md). The same file twice changes nothing."""
    from edupulse_ml.connectors.importing import ImportSummary
    from jobs.import_feedback import import_feedback

    settings, console = load_settings(), Console()
    path = rejects or default_rejects_path(settings, file.resolve().stem)
    found = asyncio.run(import_feedback(settings, file, rejects_path=path))
    summary = ImportSummary((found,), path, ())
    _show(summary, console)
    _finish(summary)


async def import_csv(settings: Settings, folder: Path, *, rejects_path: Path, console: Console) -> "ImportSummary":
    """Import a folder, forget the cached answers of the students it touched and print the summary.

    Raises:
        InvalidInputError: the folder holds nothing to import, or `rejects_path` cannot be written.
        DependencyDownError: a server does not answer; unless the message says otherwise nothing was stored.
    """
    from edupulse_ml.connectors.importing import import_folder
    from edupulse_ml.connectors.values import ReadingRules

    async def run(context: "JobContext", loader: ForgettingLoader, on_progress: "OnProgress") -> "ImportSummary":
        district = await context.ensure_district()
        rules = ReadingRules(zone=ZoneInfo(district.timezone), now=context.clock.now())
        return await import_folder(loader, folder, rules=rules, rejects_path=rejects_path, on_progress=on_progress)

    return await _import(settings, run, console)


async def import_oulad_presentations(
    settings: Settings, folder: Path, *, presentations: tuple[str, ...], rejects_path: Path, console: Console
) -> "ImportSummary":
    """Import OULAD presentations; otherwise as `import_csv`."""
    from edupulse_ml.connectors.importing import import_oulad

    async def run(context: "JobContext", loader: ForgettingLoader, on_progress: "OnProgress") -> "ImportSummary":
        await context.ensure_district()
        return await import_oulad(
            loader, folder, presentations=presentations, rejects_path=rejects_path, on_progress=on_progress
        )

    return await _import(settings, run, console)


def default_rejects_path(settings: Settings, source: str) -> Path:
    """The rejects file of a source in the home folder; a later import of the same source replaces it."""
    return StackPaths.of(settings.home).rejects(settings.district, source)


@dataclass
class ForgettingLoader:
    """The store's loader, which also drops the cached answers of the students whose records changed, at once."""

    loader: "RecordLoader"
    cache: AnswerCache
    failure: DependencyDownError | None = None
    """Why the answers were not dropped, if they were not."""

    @asynccontextmanager
    async def session(self, source: str) -> "AsyncGenerator[LoadSession, None]":
        """One import, as the store's loader opens it."""
        async with self.loader.session(source, on_commit=self._forget) as session:
            yield session

    async def _forget(self, students: Sequence[StudentId]) -> None:
        try:
            await self.cache.drop(students)
        except DependencyDownError as error:
            self.failure = error

    def require_forgotten(self) -> None:
        """Return if no cached answer is out of date.

        Raises:
            DependencyDownError: the cache did not answer; the message says that the records are stored.
        """
        if self.failure is not None:
            msg = (
                "The records are stored, but Redis does not answer, so answers from before the import may be served "
                "until they expire. Start Redis, then run `edupulse materialise`, which drops them."
            )
            raise DependencyDownError(msg, dependency=self.failure.dependency) from self.failure


def summary_table(summary: "ImportSummary") -> Table:
    """What became of the rows, one line per file."""
    table = Table(title="Import")
    table.add_column("file", no_wrap=True)
    for column in ("read", "inserted", "updated", "unchanged", "rejected"):
        table.add_column(column, justify="right")
    for file in summary.files:
        counts = (file.read, file.inserted, file.updated, file.unchanged, file.rejected)
        table.add_row(file.file_name, *(f"{count:,}" for count in counts), style="red" if file.rejected else "")
    return table


async def _import(
    settings: Settings,
    run: "Callable[[JobContext, ForgettingLoader, OnProgress], Awaitable[ImportSummary]]",
    console: Console,
) -> "ImportSummary":
    from jobs.wiring import open_context

    async with open_context(settings) as context:
        loader = ForgettingLoader(context.loader, context.cache)
        with progress_bars(console) as bars:
            file_bars = _FileBars(bars)
            summary = await run(context, loader, file_bars)
            file_bars.finish()
    _show(summary, console)
    loader.require_forgotten()
    return summary


def _show(summary: "ImportSummary", console: Console) -> None:
    console.print(summary_table(summary))
    for file in summary.files:
        if file.ignored_columns:
            console.print(f"{file.file_name}: columns without meaning here: {', '.join(file.ignored_columns)}.")
    if summary.rejected:
        console.print(f"{summary.rejected:,} rows were rejected; their reasons are in {summary.rejects_path}.")


def _finish(summary: "ImportSummary") -> None:
    if summary.rejected:
        raise typer.Exit(SOME_REJECTED)


class _FileBars:
    """One progress bar per file: the first half fills while it is read, the rest when it is stored."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: "ReadProgress") -> None:
        name = progress.file_name
        if name not in self._tasks:
            self.finish()
            self._tasks[name] = self._bars.add_task(name, total=1.0)
        doing = "storing" if progress.share_read >= 1.0 else "reading"
        self._bars.update(
            self._tasks[name],
            completed=progress.share_read / 2,
            description=f"{doing} {name}, {progress.rows_read:,} rows",
        )

    def finish(self) -> None:
        """Fill the bars of the files begun so far."""
        for name, task in self._tasks.items():
            self._bars.update(task, completed=1.0, description=name)


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["import", *sys.argv[1:]])
