"""docs/import-format.md says what the tables say, and its examples can be imported."""

import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edupulse_ml.connectors.folder import read_folder
from edupulse_ml.connectors.format_guide import MEANINGS, render_column_table
from edupulse_ml.connectors.rejects import RejectList
from edupulse_ml.connectors.values import ReadingRules
from edupulse_ml.core.tables import TABLES

GUIDE = (Path(__file__).parents[2] / "docs" / "import-format.md").read_text(encoding="utf-8")
RULES = ReadingRules(ZoneInfo("America/New_York"), datetime(2026, 11, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_guide_holds_the_columns_of_each_table(table):
    section = GUIDE.split(f"\n### {table.name}\n")[1].split("\n### ")[0]
    assert render_column_table(table) in section, "paste the output of render_column_table into the guide"
    assert set(MEANINGS[table.name]) == {column.name for column in table.columns}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_guide_names_each_natural_key(table):
    key = ", ".join(f"`{name}`" for name in table.natural_key)
    kept = "every version" if table.bitemporal else "the latest values"
    assert re.search(rf"\| `{table.name}` \| [^|]+ \| {re.escape(key)} \| {kept} \|", GUIDE)


def test_the_examples_can_be_imported(tmp_path):
    examples = re.findall(r"```csv (\S+)\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert [name for name, _ in examples] == [f"{table.name}.csv" for table in TABLES]
    for name, text in examples:
        (tmp_path / name).write_text(text, encoding="utf-8")
    rejects = RejectList()
    rows = {
        file.table.name: sum(len(c) for c in file.chunks)
        for file in read_folder(tmp_path, rules=RULES, rejects=rejects)
    }
    assert rejects.rows == []
    assert rows == {name.removesuffix(".csv"): text.count("\n") - 1 for name, text in examples}
