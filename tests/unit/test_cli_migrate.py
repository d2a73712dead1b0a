"""Which role and which server `edupulse migrate` works on."""

import pytest

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import InvalidInputError
from jobs.migrate import apply_migrations, role_of


def test_role_and_password_come_from_the_url() -> None:
    assert role_of("postgresql://school_app:p%40ss@db:5432/edupulse") == ("school_app", "p@ss")
    assert role_of("postgresql://school_app@/edupulse?host=/run") == ("school_app", None)


@pytest.mark.parametrize("url", ["postgresql://db/edupulse", "host=db user=app", "mysql://app@db/x"])
def test_a_url_without_role_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidInputError, match="EDUPULSE_DATABASE_URL") as caught:
        role_of(url)
    assert url not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "missing"),
    [("database_url", "EDUPULSE_DATABASE_ADMIN_URL"), ("database_admin_url", "EDUPULSE_DATABASE_URL")],
)
def test_one_url_alone_is_refused(given: str, missing: str) -> None:
    settings = Settings.model_validate({given: "postgresql://role@db/edupulse"})
    with pytest.raises(InvalidInputError, match=f"{missing} is not set"):
        apply_migrations(settings)
