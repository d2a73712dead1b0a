"""A folder of good files: types, loading order, progress, ignored columns; folders without tables are refused."""

import pytest

from edupulse_ml.connectors.folder import NoImportFolderError
from edupulse_ml.connectors.schemas import canonical_schema
from edupulse_ml.core.tables import TABLES, TABLES_BY_NAME
from tests.fakes.import_files import GOOD, read, write


@pytest.mark.parametrize("table", [table.name for table in TABLES])
def test_good_rows_have_canonical_types(tmp_path, table):
    write(tmp_path, table, GOOD[table])
    tables, rejects, _ = read(tmp_path)
    assert rejects == []
    assert tables[table].schema == canonical_schema(TABLES_BY_NAME[table])
    assert tables[table].num_rows == 1


def test_columns_that_mean_nothing_are_ignored_and_named(tmp_path):
    (tmp_path / "schools.csv").write_text("remarks,school_id\nhello,HS1\n")
    tables, rejects, files = read(tmp_path)
    assert (rejects, files["schools"].ignored_columns) == ([], ("remarks",))
    assert tables["schools"]["school_id"].to_pylist() == ["HS1"]


def test_files_come_in_loading_order_and_progress_is_told(tmp_path):
    for table, row in GOOD.items():
        write(tmp_path, table, row)
    told = []
    _, rejects, files = read(tmp_path, on_progress=told.append)
    assert rejects == []
    assert list(files) == [table.name for table in TABLES]
    assert [(p.file_name, p.rows_read, p.share_read) for p in told] == [(f"{t.name}.csv", 1, 1.0) for t in TABLES]


@pytest.mark.parametrize("prepare", ["no folder", "empty folder", "two files"])
def test_a_folder_without_tables_is_refused(tmp_path, prepare):
    folder = tmp_path / "import"
    expected = "There is no folder"
    if prepare != "no folder":
        folder.mkdir()
        expected = "none of the expected files: schools.csv, calendar.csv, students.csv"
    if prepare == "two files":
        write(folder, "schools", GOOD["schools"])
        (folder / "schools.parquet").write_bytes(b"")
        expected = "holds schools.csv and schools.parquet, the same table twice"
    with pytest.raises(NoImportFolderError, match=expected):
        read(folder)
