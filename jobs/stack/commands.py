"""Commands of the stack: `edupulse up`, `down`, `status`."""

from rich.console import Console

from edupulse_ml.config.settings import load_settings


def up() -> None:
    """Start what does not run yet and print the URLs: API, Ray dashboard, MLflow."""
    from jobs.stack.up import show
    from jobs.stack.up import up as start

    console = Console()
    show(start(load_settings(), console), console)


def down() -> None:
    """Stop what `edupulse up` and the jobs started from this home folder; the data stays."""
    from jobs.stack.up import down as stop

    stop(load_settings(), Console())


def status() -> None:
    """Show which servers run for this home folder."""
    from jobs.stack.up import show_status
    from jobs.stack.up import status as look

    show_status(look(load_settings()), Console())
