"""What raw `COPY` takes for the files of an import folder: typed columns, no key, no index, no check, no policy."""

from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from edupulse_ml.core.tables import TABLES, Table

_TYPES: Final = {
    "text": sql.SQL("text"),
    "date": sql.SQL("date"),
    "moment": sql.SQL("timestamptz"),
    "boolean": sql.SQL("boolean"),
    "integer": sql.SQL("integer"),
    "number": sql.SQL("double precision"),
}
_BLOCK_BYTES: Final = 1 << 18


def copy_folder(url: str, folder: Path, *, tables: frozenset[str]) -> int:
    """Load these tables' CSV files into tables of their own, in one transaction; the number of rows."""
    with psycopg.connect(url) as connection:
        return sum(_copy_file(connection, table, folder) for table in TABLES if table.name in tables)


def _copy_file(connection: psycopg.Connection, table: Table, folder: Path) -> int:
    name = sql.Identifier(f"bare_{table.name}")
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), _TYPES[column.kind]) for column in table.columns
    )
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name, columns))
    with (
        (folder / f"{table.name}.csv").open("rb") as file,
        connection.cursor() as cursor,
    ):
        with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER)").format(name)) as copy:
            while block := file.read(_BLOCK_BYTES):
                copy.write(block)
        return cursor.rowcount
