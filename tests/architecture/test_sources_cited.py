"""Every section of docs/sources.md that a comment points to is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CITED = re.compile(r"sources\.md\s+(?:\"\"\"|#)?\s*(\d(?:\.\d)?)(?:(?:,| and) (\d\.\d))?")


def test_cited_sections_exist() -> None:
    headings = set(re.findall(r"^#+ (\d(?:\.\d)?) ", (ROOT / "docs" / "sources.md").read_text(), flags=re.MULTILINE))
    cited = {
        (section, str(path.relative_to(ROOT)))
        for folder in ("deployments", "docs", "edupulse_ml", "features", "jobs", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".sql", ".yaml"}
        for found in CITED.findall(path.read_text())
        for section in found
        if section
    }
    assert len(cited) > 30
    assert not {(section, path) for section, path in cited if section not in headings}
