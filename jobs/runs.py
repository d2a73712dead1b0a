"""`edupulse jobs`: the training runs and searches of the district, one of them, and how to stop it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from uuid import UUID, uuid4

import typer
from rich.console import Console
from rich.table import Table

from edupulse_ml.config.settings import load_settings
from edupulse_ml.core.clock import SystemClock
from edupulse_ml.core.errors import ConflictError
from edupulse_ml.core.training_runs import TrainingJob
from edupulse_ml.storage.training_claims import clear_away
from edupulse_ml.storage.training_jobs import TrainingJobRepository
from jobs.recording import not_asked
from jobs.wiring import open_context

app = typer.Typer(no_args_is_help=True, help="Training runs and searches of the district.")
_Id = Annotated[UUID, typer.Argument(help="Id of the run, as `edupulse jobs list` shows it.")]
_Result = TypeVar("_Result")


@app.command("list")
def list_runs(*, limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 20) -> None:
    """Show the runs begun last, newest first."""
    table = Table("run", "state", "started", "step", "model")
    for job in _with_jobs(lambda jobs: jobs.latest(limit=limit)):
        table.add_row(
            str(job.job_id), job.status, f"{job.started_at:%Y-%m-%d %H:%M}", _step(job), job.model_version or ""
        )
    Console().print(table)


@app.command()
def status(job_id: _Id) -> None:
    """Show one run: its state, and what it said of itself."""
    job = _with_jobs(lambda jobs: _as_it_is(jobs, job_id))
    console = Console()
    console.print(f"{job.job_id}: {job.status}", _step(job), highlight=False)
    for line in job.lines:
        console.print(f"  {line.at:%Y-%m-%d %H:%M:%S} {line.text}", highlight=False, markup=False)
    if job.error is not None:
        console.print(job.error, highlight=False, markup=False)


@app.command()
def stop(job_id: _Id) -> None:
    """Ask a run to end at its next step or epoch; its checkpoints stay. The API ends one on Ray at once. A search ends with
    the results at hand and keeps its trials.
    """
    asked = _with_jobs(lambda jobs: jobs.ask_to_stop(job_id, asked_by="edupulse jobs", request_id=str(uuid4())))
    job = _with_jobs(lambda jobs: _as_it_is(jobs, job_id))
    if not asked and job.status != "stopping":
        raise ConflictError(f"Training run {job_id} has ended: it is {job.status}.")
    Console().print(f"{job.job_id}: {job.status}", highlight=False)


@app.command(hidden=True)
def run(job_id: _Id) -> None:
    """Take up a queued run in this process; what a job on Ray does."""
    from jobs.queued_run import train_queued
    from jobs.reporting import show_report

    console = Console()
    trained = asyncio.run(train_queued(load_settings(), job_id, clock=SystemClock(), console=console))
    show_report(trained.report, console)


async def _as_it_is(jobs: TrainingJobRepository, job_id: UUID) -> TrainingJob:
    job = await jobs.find(job_id)
    if await clear_away(jobs, job, ask_ray=not_asked, clock=SystemClock()):
        job = await jobs.find(job_id)
    return job


def _with_jobs(work: Callable[[TrainingJobRepository], Awaitable[_Result]]) -> _Result:
    async def main() -> _Result:
        clock = SystemClock()
        async with open_context(load_settings(), clock=clock) as context:
            return await work(TrainingJobRepository(context.database, clock=clock))

    return asyncio.run(main())


def _step(job: TrainingJob) -> str:
    if not job.under_way or job.step is None:
        return ""
    return job.step if job.epoch is None else f"{job.step}, epoch {job.epoch} of at most {job.of_epochs}"


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["jobs", *sys.argv[1:]])
