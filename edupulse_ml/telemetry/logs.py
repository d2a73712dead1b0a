"""Logs: configured once at an entry point, structured, without student data.

A line holds only fields whose names are on the allow-list; the value of any other field is masked. What identifies a
student is not on the list, so a careless `log.info("scored", student_id=...)` prints no id.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "console", "json"]

MASK: Final = "***"
ALLOWED_FIELDS: Final = frozenset(
    {
        # of structlog and the standard library
        "event", "level", "logger", "timestamp", "request_id",
        # what runs
        "action", "command", "component", "deployment", "district", "job_id", "run_id", "source", "status", "step",
        # models and contracts
        "candidate", "champion", "concept", "contract_fingerprint", "epoch", "kind", "metric", "model", "model_version",
        "outcome", "policy_version", "version", "withdrawn",
        # amounts
        "attempt", "batch_size", "bytes", "cached", "calls_since_last_line", "candidates", "chunk", "chunks", "count",
        "dropped", "failed", "files", "inserted", "misses", "pending", "read", "rejected", "rows", "seconds", "shadow",
        "size", "split", "student_weeks", "students", "tables", "total", "unchanged", "updated", "weeks", "windows",
        "writes",
        # servers
        "dependency", "error", "error_type", "host", "http_status", "pid", "port", "retry_after_s", "table", "url",
        # named on purpose: the store's surrogate, meaningless outside it
        "student_key",
    }
)  # fmt: skip
"""Names of fields that may be printed."""


def mask_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor that masks every field that is not on the allow-list, and whatever `exc_info` would print
    of an error's message: only the kind of the error stays.
    """
    cleaned: EventDict = {}
    for name, value in event.items():
        if name == "exc_info":
            error = value if isinstance(value, BaseException) else sys.exc_info()[1]
            if error is not None:
                cleaned["error_type"] = type(error).__name__
        else:
            cleaned[name] = value if name in ALLOWED_FIELDS else MASK
    return cleaned


def configure_logs(*, level: str, log_format: LogFormat, stream: TextIO) -> None:
    """Send structlog and the standard library's loggers to `stream`; call once, at an entry point.

    `auto` means coloured lines where `stream` is a terminal, else one JSON object per line.
    """
    as_console = log_format == "console" or (log_format == "auto" and stream.isatty())
    renderer: Processor = structlog.dev.ConsoleRenderer(colors=stream.isatty()) if as_console else _json()
    structlog.configure(
        processors=[*_shared(), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=_shared(),
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def _shared() -> Sequence[Processor]:
    return (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        mask_fields,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    )


def _json() -> Processor:
    return structlog.processors.JSONRenderer()
