"""`--check`: one line per check, the first error's exit code, and no question where the answer is known."""

from io import StringIO

import pytest
import typer
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import ContractMismatchError, DependencyDownError
from jobs.preflight import Check, check_before, gate_check, ray_check, settings_check, training_checks


def well(name: str, *needs: str) -> Check:
    async def look(_: Settings) -> str:
        return "answers"

    return Check(name, look, needs)


def wrong(name: str, error: Exception, *needs: str) -> Check:
    async def look(_: Settings) -> str:
        raise error

    return Check(name, look, needs)


DOWN = DependencyDownError("It does not answer: start it.", dependency="postgresql")
OTHER = ContractMismatchError("Trained for other features: train again.")


def checked(*checks: Check) -> tuple[int, list[str]]:
    out = StringIO()
    code = 0
    try:
        check_before(Settings(), Console(file=out, width=200), *checks)
    except typer.Exit as end:
        code = end.exit_code
    return code, out.getvalue().splitlines()


def test_all_well_is_a_line_each_and_no_exit() -> None:
    assert checked(well("PostgreSQL"), well("Redis")) == (
        0,
        ["ok       PostgreSQL: answers", "ok       Redis: answers"],
    )


def test_the_first_error_s_exit_code_and_every_line() -> None:
    code, lines = checked(wrong("model", OTHER), well("Redis"), wrong("MLflow", DOWN))
    assert code == 65
    assert lines == [
        "WRONG    model: Trained for other features: train again.",
        "ok       Redis: answers",
        "WRONG    MLflow: It does not answer: start it.",
    ]


def test_what_needs_a_server_that_is_down_is_not_asked() -> None:
    code, lines = checked(wrong("PostgreSQL", DOWN), wrong("tables", OTHER, "PostgreSQL"), well("rows", "tables"))
    assert code == 69
    assert lines[1:] == ["not seen tables: it needs PostgreSQL", "not seen rows: it needs tables"]


def test_a_fault_of_ours_is_not_a_finding() -> None:
    with pytest.raises(ZeroDivisionError):
        checked(wrong("model", ZeroDivisionError()))


def test_settings_policy_and_an_absent_cluster(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    out = StringIO()
    settings = Settings(home=tmp_path / "home", district="north")
    check_before(settings, Console(file=out, width=200), settings_check(), gate_check(None), *ray_check(needed=True))
    first, second, third = out.getvalue().splitlines()
    assert "district north" in first
    assert second.startswith("ok       promotion policy: version ")
    assert "one of its own" in third
    assert ray_check(needed=False) == ()
    assert not (tmp_path / "home").exists()


def test_a_policy_that_does_not_fit_is_said(tmp_path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\nno_such_rule: 3\n")
    code, (line,) = checked(gate_check(tmp_path / "policy.yaml"))
    assert code == 2
    assert line.startswith("WRONG    promotion policy: ")


def test_a_training_on_a_cluster_looks_at_the_cluster_too() -> None:
    here, on_ray = ([check.name for check in training_checks(ray=ray)] for ray in (False, True))
    assert on_ray == [*here, "Ray"]
    assert {"PostgreSQL", "migrations", "records", "data policy", "MLflow"} <= set(here)
