"""A search's account of itself: as a training run's, for work whose main thread belongs to Ray Tune and no event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.training_jobs import TrainingJobRepository
from jobs.recording import LiveRecord, heard_of
from jobs.wiring import JobContext

_Result = TypeVar("_Result")


@contextmanager
def recorded_search(context: JobContext, *, parameters: Mapping[str, object]) -> Generator[LiveRecord, None, None]:
    """The account of a search that lasts as long as the block, which other runs of the district do not wait for. An error
    in the block, an interrupt too, is kept as its end. Of `context` only what needs no open connection is used.
    """
    job_id = with_jobs(context, lambda jobs: jobs.start_search(parameters=parameters))
    record = LiveRecord(job_id, clock=context.clock)
    with heard_of(context, record):
        try:
            yield record
        except BaseException as error:
            ended = error
            with_jobs(context, lambda jobs: record.fail(jobs, ended))
            raise


def with_jobs(context: JobContext, work: Callable[[TrainingJobRepository], Awaitable[_Result]]) -> _Result:
    """What `work` gives on the list of runs, over a connection and on an event loop of its own."""

    async def main() -> _Result:
        url, district_id = context.endpoints.database_url, context.district_id
        async with Database(url, district_id=district_id, max_connections=1) as database:
            return await work(TrainingJobRepository(database, clock=context.clock))

    return asyncio.run(main())
