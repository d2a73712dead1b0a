"""Every setting stands in docs/settings.md, and nothing else does."""

import re
from pathlib import Path

from edupulse_ml.config.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def _variable(field: str) -> str:
    return "MLFLOW_TRACKING_URI" if field == "mlflow_tracking_uri" else f"EDUPULSE_{field.upper()}"


def test_settings_and_their_document_agree() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)` \|", DOCUMENT.read_text(), flags=re.MULTILINE)
    assert documented == [_variable(field) for field in Settings.model_fields]


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())
