"""The manifest and the crontab lines of the month name what exists, and never run two months at once."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from edupulse_ml.config.settings import Settings
from jobs.cli import COMMANDS, build_app

DOCS = Path(__file__).parents[2] / "docs"
MONTHLY = (DOCS / "monthly.md").read_text()


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return yaml.safe_load((DOCS / "monthly-cronjob.yaml").read_text())


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    (only,) = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return only


def options_of(arguments: list[str]) -> None:
    """Parse them as `edupulse` would, without running anything."""
    group = typer.main.get_command(build_app(arguments))
    command = group.get_command(None, arguments[0])  # type: ignore[attr-defined]
    command.make_context(arguments[0], arguments[1:])


def test_it_is_a_cron_job_that_forbids_a_second_one(manifest: dict[str, Any]) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "CronJob")
    assert manifest["spec"]["concurrencyPolicy"] == "Forbid"
    assert len(manifest["spec"]["schedule"].split()) == 5
    template = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert template["restartPolicy"] == "Never"  # what podFailurePolicy asks for
    assert {mount["name"] for mount in container(manifest)["volumeMounts"]} == {"home"}
    assert {volume["name"] for volume in template["volumes"]} == {"home"}


def test_its_command_exists_and_its_variables_are_settings(manifest: dict[str, Any]) -> None:
    program, *arguments = container(manifest)["command"]
    assert program == "edupulse"
    assert arguments[0] in {command.name for command in COMMANDS}
    options_of(arguments)
    names = {f"EDUPULSE_{name.upper()}" for name in Settings.model_fields}
    assert {variable["name"] for variable in container(manifest)["env"]} <= names


def test_it_gives_up_at_once_only_where_a_person_is_needed(manifest: dict[str, Any]) -> None:
    (rule, _) = manifest["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    told = {
        int(code) for codes in re.findall(r"^\| ([\d, ]+) \|", MONTHLY, flags=re.MULTILINE) for code in codes.split(",")
    }
    assert rule["onExitCodes"]["containerName"] == container(manifest)["name"]
    assert set(rule["onExitCodes"]["values"]) <= told
    assert not {5, 69, 137} & set(rule["onExitCodes"]["values"])


def test_the_image_is_that_of_the_cluster(manifest: dict[str, Any]) -> None:
    cluster = yaml.safe_load((DOCS.parent / "cluster.yaml").read_text())
    assert container(manifest)["image"] == cluster["docker"]["image"]


def test_the_crontab_lines_and_the_submitted_job_parse() -> None:
    lines = re.findall(r"^\d+ \d+ \S+ \S+ \S+ +(cd .*)$", MONTHLY, flags=re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        words = shlex.split(line.split("&&")[1].split(">>")[0])
        assert Path(words[0]).name == "edupulse"
        options_of(words[1:])
    (submitted,) = re.findall(r"-m jobs\.(.*)$", MONTHLY, flags=re.MULTILINE)
    options_of(shlex.split(submitted))
