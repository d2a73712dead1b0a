"""Stands in for `edupulse jobs run` as the process of a job: tells the database of itself as a training run does, starts a child,
writes a checkpoint, and trains until it is ended.
"""

import asyncio
import os
import sys
from pathlib import Path
from uuid import UUID

from edupulse_ml.config.settings import load_settings
from edupulse_ml.core.clock import SystemClock
from jobs.recording import recorded_run, take_up
from jobs.wiring import open_context

CHECKPOINT = "checkpoint"
PIDS = "pids"


async def train(job_id: UUID) -> None:
    """Epochs of a tenth of a second, without end."""
    settings, clock = load_settings(), SystemClock()
    await take_up(settings, job_id, clock=clock)
    async with (
        open_context(settings, clock=clock) as context,
        recorded_run(context, job_id, parameters={}, run_name=None) as record,
    ):
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
        (settings.home / CHECKPOINT).write_text(str(job_id))
        (settings.home / PIDS).write_text(f"{os.getpid()} {child.pid}")
        record.step("training (gru)", of_epochs=6000)
        while True:
            record.progress({"epoch": 1.0, "validation_loss": 0.5})
            await asyncio.sleep(0.1)


def pids(home: Path) -> tuple[int, int]:
    """The process of the run that wrote last, and its child."""
    process, child = (home / PIDS).read_text().split()
    return int(process), int(child)


if __name__ == "__main__":
    asyncio.run(train(UUID(sys.argv[-1])))
