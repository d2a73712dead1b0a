"""Named queries: the `.sql` files of `queries/`, read once per process.

A query starts at a line `-- name: x` and ends before the next one. Values are `%(name)s` parameters; `{name}` marks
an identifier or a list of columns that the caller composes with `psycopg.sql`.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString, cast

from psycopg import sql

_NAME: Final = re.compile(r"^-- name: (\w+)[ \t]*\n", re.MULTILINE)


@cache
def load_queries(file: str) -> Mapping[str, sql.SQL]:
    """Name to statement of `queries/<file>.sql`.

    Raises:
        ValueError: a name occurs twice.
    """
    text = files("edupulse_ml.storage").joinpath("queries", f"{file}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    names, bodies = parts[0::2], parts[1::2]
    if len(set(names)) != len(names):
        msg = f"queries/{file}.sql names a query twice"
        raise ValueError(msg)
    # The text comes from this package, never from a caller: this is the one place that says so to the type checker.
    return {name: sql.SQL(cast("LiteralString", body.strip())) for name, body in zip(names, bodies, strict=True)}
