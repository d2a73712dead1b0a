"""The command line: help without heavy imports, and one exit code per kind of failure."""

import subprocess
import sys
import types

import pydantic
import pytest
import typer

from edupulse_ml.config.settings import load_settings
from edupulse_ml.core.errors import DependencyDownError, InvalidInputError
from jobs import cli


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.run(arguments, before_command=load_settings)
    code = caught.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture
def job(monkeypatch):
    """Put a command `job` beside the others that does what the test says."""

    def install(action) -> None:
        module = types.ModuleType("tests_fake_job")
        module.job = action
        monkeypatch.setitem(sys.modules, "tests_fake_job", module)
        command = cli.Command("job", "tests_fake_job", "job", "Do something.", "Stack")
        monkeypatch.setattr(cli, "COMMANDS", (command,))

    return install


def test_help_names_the_commands_and_imports_none_of_them() -> None:
    code = "import sys; from jobs.cli import build_app; build_app(['--help']); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("numpy", "pandas", "torch", "ray", "mlflow", "psycopg", "jobs.stack.up", "jobs.migrate"):
        assert f"'{heavy}'" not in loaded


def test_help_lists_commands_with_their_summaries(capsys) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Start the whole stack" in shown
    assert "migrate" in shown


def test_every_listed_command_exists_and_has_its_own_help(capsys) -> None:
    import importlib.util

    for command in cli.COMMANDS:
        if importlib.util.find_spec(command.module) is not None:
            assert run([command.name, "--help"]) == 0, command.name
            assert "Usage: edupulse" in capsys.readouterr().out


def test_a_wrong_command_is_a_wrong_call(capsys) -> None:
    assert run(["stats"]) == 2
    assert "status" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInputError("The folder x holds no records: name another one."), 2),
        (DependencyDownError("PostgreSQL does not answer.", dependency="postgresql"), 69),
    ],
)
def test_an_expected_error_is_a_sentence_and_its_exit_code(job, capsys, error: Exception, code: int) -> None:
    def fail() -> None:
        raise error

    job(fail)
    assert run(["job"]) == code
    shown = capsys.readouterr().err
    assert str(error) in shown.replace("\n", " ")
    assert "Traceback" not in shown


def test_a_fault_of_ours_shows_where_and_what_kind_but_no_value(job, capsys) -> None:
    def fail() -> None:
        try:
            int("Ada")
        except ValueError as error:
            raise RuntimeError("cannot read Ada") from error

    job(fail)
    assert run(["job"]) == 70
    shown = capsys.readouterr().err
    assert "RuntimeError" in shown
    assert "ValueError" in shown
    assert "in fail" in shown
    assert "test_cli_main.py:" in shown
    assert "Ada" not in shown


def test_a_fault_in_a_model_of_ours_shows_no_value_either(job, capsys) -> None:
    class Row(pydantic.BaseModel):
        score: float

    job(lambda: Row.model_validate({"score": "Ada"}))
    assert run(["job"]) == 70
    shown = capsys.readouterr().err
    assert "ValidationError" in shown
    assert "Ada" not in shown


def test_an_empty_variable_counts_as_unset(monkeypatch) -> None:
    for name in ("EDUPULSE_REDIS_URL", "EDUPULSE_TOKEN", "MLFLOW_TRACKING_URI", "EDUPULSE_HTTP_PORT"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert (settings.redis_url, settings.token, settings.mlflow_tracking_uri) == (None, None, None)
    assert settings.http_port == 8000


def test_an_interrupt_exits_as_the_shell_expects(job) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    job(interrupt)
    assert run(["job"]) == 130


def test_a_command_chooses_its_own_exit_code(job) -> None:
    def reject() -> None:
        raise typer.Exit(1)

    job(reject)
    assert run(["job"]) == 1


def test_a_wrong_setting_is_named_without_its_value(monkeypatch, capsys) -> None:
    monkeypatch.setenv("EDUPULSE_HTTP_PORT", "90125")
    assert run(["status"]) == 2
    shown = capsys.readouterr().err
    assert "EDUPULSE_HTTP_PORT" in shown
    assert "90125" not in shown
