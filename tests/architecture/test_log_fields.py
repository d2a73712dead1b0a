"""Every field that the code logs is one that may be printed; a line of masked values would help nobody."""

import ast
from collections.abc import Iterator
from pathlib import Path

from edupulse_ml.telemetry.logs import ALLOWED_FIELDS

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for package in ("deployments", "edupulse_ml", "features", "jobs") for path in (ROOT / package).rglob("*.py")
]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
OF_THE_STANDARD_LIBRARY = {"exc_info", "extra", "stack_info", "stacklevel"}


def logged_fields(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each keyword that a logger is given."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
            continue
        logger = node.func.value
        if isinstance(logger, ast.Name) and logger.id.lower().strip("_") in {"log", "logger"}:
            yield from ((node.lineno, word.arg) for word in node.keywords if word.arg)


def test_the_search_finds_fields() -> None:
    found = list(logged_fields('_log.info("scored", students=3, student_id=secret)\n_LOG.error("%s", x, exc_info=e)'))
    assert found == [(1, "students"), (1, "student_id"), (2, "exc_info")]
    assert sum(len(list(logged_fields(path.read_text()))) for path in SOURCES) > 20


def test_what_is_logged_may_be_printed() -> None:
    masked = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in SOURCES
        for line, name in logged_fields(path.read_text())
        if name not in ALLOWED_FIELDS | OF_THE_STANDARD_LIBRARY
    ]
    assert not masked, f"Masked in every line: allow them in telemetry/logs.py, or do not log them: {masked}"
