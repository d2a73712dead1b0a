"""The command `edupulse`, put together lazily: only the job that was asked for is imported."""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from traceback import extract_tb
from typing import Final, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from edupulse_ml.core.errors import EduPulseError

_INTERRUPTED: Final = 130
_OUR_BUG: Final = 70
_BAD_SETTING: Final = 2


@dataclass(frozen=True)
class Command:
    """One command: a typer command function, or a `typer.Typer` with commands of its own, named `attribute` in
    `module`.
    """

    name: str
    module: str
    attribute: str
    summary: str
    panel: str


_RECORDS, _MODEL, _STACK = "Records", "Model", "Stack"

COMMANDS: Final = (
    Command("demo", "jobs.demo", "demo", "Generate a district and take it all the way to served scores.", _STACK),
    Command("up", "jobs.stack.commands", "up", "Start the whole stack and print its URLs.", _STACK),
    Command("down", "jobs.stack.commands", "down", "Stop what was started; the data stays.", _STACK),
    Command("status", "jobs.stack.commands", "status", "Show which servers run.", _STACK),
    Command("migrate", "jobs.migrate", "migrate", "Bring the database's tables up to date.", _STACK),
    Command("import", "jobs.import_records", "app", "Load records: a CSV or Parquet folder, or OULAD.", _RECORDS),
    Command("generate", "jobs.generate", "generate", "Write a simulated district as an import folder.", _RECORDS),
    Command("acceptance", "jobs.acceptance", "acceptance", "Compare a simulated district with its targets.", _RECORDS),
    Command("materialise", "jobs.materialise", "materialise", "Compute the features that imports touched.", _RECORDS),
    Command("check-data", "jobs.check_data", "check", "Check whether the records can be learned from.", _RECORDS),
    Command("train", "jobs.train", "train", "Train, calibrate, evaluate and register a model.", _MODEL),
    Command("tune", "jobs.tune", "tune", "Search for better settings on Ray and register the best.", _MODEL),
    Command("jobs", "jobs.runs", "app", "List, show and stop training runs.", _MODEL),
    Command("evaluate", "jobs.evaluate", "evaluate", "Evaluate a registered model beside its rivals.", _MODEL),
    Command("promote", "jobs.promote", "promote", "Make a model the champion if it meets the policy.", _MODEL),
    Command("gate-drill", "jobs.gate_drill", "gate_drill", "Show that the policy refuses bad models here.", _MODEL),
    Command("rollback", "jobs.rollback", "rollback", "Return to the champion before.", _MODEL),
    Command("replay", "jobs.replay", "replay", "Compute stored predictions again and compare.", _MODEL),
    Command("feedback-report", "jobs.feedback_report", "feedback_report", "Report opinions on flags.", _MODEL),
    Command("challenger", "jobs.challenger", "app", "Let a version challenge the champion, live.", _MODEL),
    Command("compare", "jobs.compare", "compare", "Compare champion and challenger as they served.", _MODEL),
    Command("score", "jobs.score", "score", "Score students and store the predictions.", _MODEL),
    Command("monthly", "jobs.monthly", "monthly", "Retrain, judge, score and report, once a month.", _MODEL),
    Command("monitor", "jobs.monitor", "monitor", "Watch features, scores and outcomes for drift.", _MODEL),
    Command("benchmark", "jobs.benchmark", "app", "Train and test on a public data set.", _MODEL),
)


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The application for these arguments: the command they name is real, the others only stand in the help."""
    app = typer.Typer(
        name="edupulse",
        help="Early warning of school dropout: dated records in, explained and audited risk scores out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    asked_for = next((argument for argument in arguments if not argument.startswith("-")), None)
    for command in COMMANDS:
        if command.name == asked_for:
            _mount(app, command)
        elif importlib.util.find_spec(command.module) is not None:
            app.command(command.name, help=command.summary, rich_help_panel=command.panel)(_listed_only)
    app.callback()(_root)
    return app


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `edupulse` with these arguments (None: the process's own), log to standard error, and exit as `run` says."""
    run(list(sys.argv[1:] if arguments is None else arguments), before_command=_log_to_stderr)


def run(arguments: Sequence[str], *, before_command: Callable[[], None]) -> NoReturn:
    """Run one command and exit. `before_command` is left out where only help is asked for.

    Exit codes: those of the error families in `edupulse_ml.core.errors`, 2 for a wrong call, 70 for a fault of ours,
    130 when interrupted.
    """
    errors = Console(stderr=True)
    try:
        if arguments and "--help" not in arguments:
            before_command()
        build_app(arguments)(list(arguments), prog_name="edupulse")
    except EduPulseError as error:
        _say(errors, error.title, str(error))
        sys.exit(error.exit_code)
    except ValidationError as error:
        if error.title != "Settings":
            _confess(errors, error)
        _say(errors, "Wrong setting", setting_problems(error))
        sys.exit(_BAD_SETTING)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:  # noqa: BLE001  (the last handler: whatever is left is a fault of ours)
        _confess(errors, error)
    sys.exit(0)


def setting_problems(error: ValidationError) -> str:
    """One sentence per wrong setting: its environment variable and what is wrong, without its value."""
    sentences = []
    for problem in error.errors(include_input=False, include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        variable = name if name.isupper() else f"EDUPULSE_{name.upper()}"
        sentences.append(f"{variable}: {problem['msg']}.")
    return "\n".join([*sentences, "docs/settings.md lists every setting."])


def _mount(app: typer.Typer, command: Command) -> None:
    found = getattr(importlib.import_module(command.module), command.attribute)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=command.name, help=command.summary, rich_help_panel=command.panel)
    else:
        app.command(command.name, rich_help_panel=command.panel)(found)


def _log_to_stderr() -> None:
    from edupulse_ml.config.settings import load_settings
    from edupulse_ml.telemetry.logs import configure_logs

    settings = load_settings()
    configure_logs(level=settings.log_level, log_format=settings.log_format, stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request


def _listed_only() -> None:
    """Stands for a command that these arguments do not call."""


def _root() -> None:
    """Keep the application a group of commands, however few there are."""


def _confess(console: Console, error: Exception) -> NoReturn:
    """Where a fault of ours happened and what kind of error it is. Its message is kept back: it may hold a value of a
    student's record.
    """
    cause: BaseException | None = error
    while cause is not None:
        frames = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in extract_tb(cause.__traceback__)]
        _say(console, "Fault", "\n".join([type(cause).__name__, *frames]))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    sys.exit(_OUR_BUG)


def _say(console: Console, title: str, text: str) -> None:
    console.print(f"{title}:", style="bold red", end=" ", highlight=False)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
