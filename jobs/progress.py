"""Progress of the jobs: bars on a terminal, log lines elsewhere. Everything that takes longer than a second has one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

LINES_PER_STEP: Final = 10
"""A step with a known end tells of each tenth of it, unless the line before is younger than `QUIET_S`."""
QUIET_S: Final = 10.0
"""Least seconds between two lines of a step that has begun and not ended: a log is read by people too."""

_log = structlog.get_logger(__name__)


def progress_bars(console: Console, *, get_time: Callable[[], float] = time.monotonic) -> Progress:
    """Bars with a spinner, a share and the elapsed time on a terminal; elsewhere one log line (JSON, unless set otherwise,
    on the stream of the logs) when a step begins, as it goes on, and when it ends; nothing where the console is quiet.
    Descriptions are logged: they name work, never a student. `get_time` counts seconds.
    """
    if console.quiet:
        return Progress(console=console, disable=True)
    if not console.is_terminal:
        return ProgressLines(console, get_time=get_time)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        get_time=get_time,
    )


@dataclass
class _Told:
    """What the log knows of a task: `share` in tenths, `at` the second of the last line."""

    description: str
    began: float
    at: float
    share: int = 0
    is_open: bool = True


class ProgressLines(Progress):
    """The same calls as rich's bars, told as log lines with `step`, `status` (started, going_on, finished, failed),
    `count` of `total`, and `seconds` since the step began.
    """

    def __init__(self, console: Console, *, get_time: Callable[[], float]) -> None:
        super().__init__(console=console, get_time=get_time, disable=True)
        self._told: dict[TaskID, _Told] = {}

    def add_task(self, description: str, *arguments: Any, **options: Any) -> TaskID:
        task_id = super().add_task(description, *arguments, **options)
        if self.tasks[self.task_ids.index(task_id)].visible:
            self._begin(task_id, description)
            self._tell(task_id)
        return task_id

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        for task_id in self._told:
            self._end(task_id, "finished" if kind is None else "failed")

    def _begin(self, task_id: TaskID, description: str) -> None:
        now = self.get_time()
        self._told[task_id] = _Told(description, now, now)
        self._line(task_id, "started")

    def _end(self, task_id: TaskID, status: str) -> None:
        told = self._told[task_id]
        if told.is_open:
            told.is_open = False
            self._line(task_id, status)

    def _tell(self, task_id: TaskID) -> None:
        told = self._told.get(task_id)
        if told is None:
            return
        task = self._tasks[task_id]
        if task.description != told.description:
            self._end(task_id, "finished")
            self._begin(task_id, task.description)
            return
        # Not `task.finished`: a task that was done once stays so for rich, also when it begins anew as another step.
        if task.total is not None and task.completed >= task.total:
            self._end(task_id, "finished")
            return
        share = int(LINES_PER_STEP * task.completed / task.total) if task.total else 0
        if told.is_open and share > told.share and self.get_time() - told.at >= QUIET_S:
            told.share, told.at = share, self.get_time()
            self._line(task_id, "going_on")

    def _line(self, task_id: TaskID, status: str) -> None:
        told, task = self._told[task_id], self._tasks[task_id]
        _log.info(
            "progress",
            step=told.description,
            status=status,
            count=round(task.completed, 2),
            total=task.total,
            seconds=round(self.get_time() - told.began, 1),
        )
