"""What can be set from outside, with units and reasons. Read once, at an entry point, and passed inward."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _from_here(path: Path) -> Path:
    # Links stay links: who mounts a file anew behind one wants the new one read.
    return path.expanduser().absolute()


PolicyFile = Annotated[Path, AfterValidator(_from_here)]
"""An absolute path, a relative one being taken from the current folder."""


class Settings(BaseSettings):
    """EduPulse's settings. Each field is read from `EDUPULSE_<NAME>`, an empty variable counting as unset;
    `docs/settings.md` lists them all.
    """

    model_config = SettingsConfigDict(
        env_prefix="EDUPULSE_", env_ignore_empty=True, frozen=True, extra="forbid", populate_by_name=True
    )

    home: Path = Field(default=Path(".edupulse"), description="Folder of the embedded servers, reports and tokens.")
    database_url: str | None = Field(
        default=None,
        description="PostgreSQL of the application role, `postgresql://...`; unset: the embedded server.",
    )
    database_admin_url: str | None = Field(
        default=None,
        description="PostgreSQL of the role that owns the tables, used by `edupulse migrate` only; unset: the embedded server.",
    )
    redis_url: str | None = Field(default=None, description="Redis, `redis://...` or `unix://...`; unset: embedded.")
    mlflow_tracking_uri: str | None = Field(
        default=None,
        validation_alias=AliasChoices("mlflow_tracking_uri", "MLFLOW_TRACKING_URI"),
        description="MLflow tracking server (`MLFLOW_TRACKING_URI`); unset: SQLite in the home folder.",
    )
    district: str = Field(
        default="demo", description="The tenant that this process works for.", pattern=r"^[a-z0-9-]{1,40}$"
    )
    district_timezone: str = Field(
        default="America/New_York", description="Zone in which a newly created district's weeks close."
    )
    window_weeks: int = Field(default=20, ge=4, le=60, description="Instructional weeks that a model sees.")
    risk_horizon_days: Literal[30, 60, 90, 180, 365] = Field(
        default=180, description="Horizon of `risk_score` in days; an edge of the hazard intervals."
    )
    objective_discipline_only: bool = Field(
        default=False, description="Count only incidents with objective behaviour codes (docs/sources.md 2.0)."
    )
    promotion_policy: PolicyFile | None = Field(
        default=None,
        description="YAML file of the promotion policy, which monitoring reads too; unset: the one of this release.",
    )
    data_policy: PolicyFile | None = Field(
        default=None, description="YAML file of what the records must show; unset: the one of this release."
    )
    prediction_cache_ttl_s: int = Field(default=3600, ge=0, description="Seconds that an answer stays cached.")
    token: str | None = Field(default=None, description="Bearer token of the API; unset: read from the home folder.")
    api_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Address of the API that clients ask; unset: the one started from the home folder.",
    )
    http_port: int = Field(default=8000, ge=0, le=65535, description="Port of the HTTP API; 0 picks a free one.")
    serve_mode: Literal["fast", "default"] = Field(
        default="fast",
        description="How `make up` runs Ray Serve: `fast` puts HAProxy before the replicas, `default` Ray's own proxy.",
    )
    dashboard_port: int = Field(default=8265, ge=0, le=65535, description="Port of the Ray dashboard.")
    mlflow_port: int = Field(default=5000, ge=0, le=65535, description="Port of the embedded MLflow UI.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe line logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto`: coloured lines on a terminal, JSON lines elsewhere."
    )


def load_settings() -> Settings:
    """Settings from the environment.

    Raises:
        pydantic.ValidationError: a value is out of its range.
    """
    return Settings()


def process_environment() -> dict[str, str]:
    """A copy of this process's environment, for the servers that an entry point starts."""
    return dict(os.environ)


def set_environment_default(name: str, value: str) -> None:
    """Set a variable of this process for a library that can be configured in no other way; a value set outside wins."""
    os.environ.setdefault(name, value)
