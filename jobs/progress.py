"""Progress bars of the jobs: everything that takes longer than a second has one."""

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn


def progress_bars(console: Console) -> Progress:
    """Bars with a spinner, a share and the elapsed time; nothing moves where the output is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
    )
