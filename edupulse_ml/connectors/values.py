"""Values as written in a file -> canonical values, or a reason why not.

Works on the distinct values of a column (a chunk names few dates and statuses, many times), so that the cost per row
is that of a dictionary look-up. Nothing here sees rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from edupulse_ml.connectors.arrow_compute import pc
from edupulse_ml.connectors.rejects import masked
from edupulse_ml.connectors.schemas import ARROW_TYPES
from edupulse_ml.connectors.zones import local_to_utc_us
from edupulse_ml.core.tables import MAX_TEXT_LENGTH, Column, ColumnKind

EARLIEST_DATE: Final = date(1990, 1, 1)
EARLIEST_BIRTH: Final = date(1900, 1, 1)
FUTURE_DAYS: Final = 731
"""A date more than two years ahead is a typing error, also for a calendar or a planned due date."""

TRUE_WORDS: Final = ("true", "1", "yes")
FALSE_WORDS: Final = ("false", "0", "no")

_DAY: Final = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME: Final = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
_DATE: Final = rf"^{_DAY}$"
_MOMENT: Final = rf"^{_DAY}([T ]{_TIME}(Z|[+-]\d{{2}}(:?\d{{2}})?)?)?$"
_ZONED: Final = r"[T ].*(Z|[+-]\d{2}(:?\d{2})?)$"
_INTEGER: Final = r"^-?\d+$"
_NUMBER: Final = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_CONTROL: Final = r"[\x00-\x1f\x7f]"

EXPECTED: Final[Mapping[ColumnKind, str]] = {
    "text": "text",
    "date": "an ISO date (YYYY-MM-DD)",
    "moment": "an ISO 8601 moment (YYYY-MM-DDThh:mm:ss, with or without a zone)",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}


@dataclass(frozen=True)
class ReadingRules:
    """What reading depends on besides the file: the district's zone, which moments without a zone are in, and the
    present moment, from which the far future is counted.
    """

    zone: ZoneInfo
    now: datetime

    @property
    def latest_date(self) -> date:
        return (self.now + timedelta(days=FUTURE_DAYS)).astimezone(self.zone).date()


@dataclass(frozen=True)
class ParsedValues:
    """Distinct values of one column in canonical type. `problems` gives the reason for each position that is not
    acceptable (its value is then meaningless).
    """

    values: pa.Array
    problems: Mapping[int, str]


def parse_values(column: Column, written: pa.Array, rules: ReadingRules) -> ParsedValues:
    """Turn distinct written values into canonical ones.

    Args:
        column: what the values must be.
        written: strings, or the typed values of a Parquet column. Nulls, NaN and blank strings are missing.
        rules: zone and present moment.
    """
    if pa.types.is_floating(written.type):
        written = pc.if_else(pc.is_nan(written), None, written)
    values, failed = _converted(column, written, rules)
    problems = dict.fromkeys(failed, f"not {EXPECTED[column.kind]}")
    if column.choices:
        values, unknown = _chosen(column, values)
        problems |= dict.fromkeys(unknown, f"not one of {', '.join(column.choices)}")
    elif column.kind == "text":
        problems |= _text_problems(values)
    elif column.kind in ("integer", "number"):
        problems |= _range_problems(column, values)
    elif column.kind in ("date", "moment"):
        problems |= _time_problems(column, values, rules)
    return ParsedValues(values, {at: _sentence(column, written[at].as_py(), why) for at, why in problems.items()})


def _sentence(column: Column, written: object, why: str) -> str:
    return f"column '{column.name}' holds '{masked(str(written))}', which is {why}"


def _converted(column: Column, written: pa.Array, rules: ReadingRules) -> tuple[pa.Array, list[int]]:
    """Canonical values, null where missing or unreadable, and the positions that were unreadable."""
    target = ARROW_TYPES[column.kind]
    if pa.types.is_string(written.type) or pa.types.is_large_string(written.type):
        text = _trimmed(written.cast(pa.string()))
        values = _PARSERS[column.kind](text, rules)
        return values, _lost(text, values)
    values = _cast_typed(column.kind, written, target, rules)
    return values, _lost(written, values)


def _lost(before: pa.Array, after: pa.Array) -> list[int]:
    if after.null_count == before.null_count:
        return []
    return np.flatnonzero(pc.and_(before.is_valid(), after.is_null()).to_numpy(zero_copy_only=False)).tolist()


def _trimmed(text: pa.Array) -> pa.Array:
    stripped = pc.ascii_trim_whitespace(text) if _any_byte_below(text, 33) else text
    return pc.if_else(pc.equal(stripped, ""), None, stripped) if pc.any(pc.equal(stripped, "")).as_py() else stripped


def _any_byte_below(text: pa.Array, bound: int) -> bool:
    data = text.buffers()[2]
    return data is not None and data.size > 0 and bool((np.frombuffer(data, dtype=np.uint8) < bound).any())


def _cast_each(values: pa.Array, target: pa.DataType) -> pa.Array:
    """Cast, with null for what cannot be cast; halves the array until it has found the culprits."""
    try:
        return values.cast(target)
    except pa.ArrowInvalid:
        if len(values) == 1:
            return pa.nulls(1, target)
    middle = len(values) // 2
    return pa.concat_arrays([_cast_each(values[:middle], target), _cast_each(values[middle:], target)])


def _matching(text: pa.Array, pattern: str) -> pa.Array:
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None)


def _parse_text(text: pa.Array, rules: ReadingRules) -> pa.Array:  # noqa: ARG001  (one signature for all kinds)
    return text


def _parse_date(text: pa.Array, rules: ReadingRules) -> pa.Array:  # noqa: ARG001
    return _cast_each(_matching(text, _DATE), pa.date32())


def _parse_moment(text: pa.Array, rules: ReadingRules) -> pa.Array:
    well_formed = _matching(text, _MOMENT)
    zoned = pc.match_substring_regex(well_formed, _ZONED)
    with_zone = _cast_each(pc.if_else(zoned, well_formed, None), ARROW_TYPES["moment"])
    if with_zone.null_count == well_formed.null_count:
        return with_zone
    wall = _cast_each(pc.if_else(zoned, None, well_formed), pa.timestamp("us"))
    return pc.coalesce(with_zone, _wall_to_utc(wall, rules.zone))


def _wall_to_utc(wall: pa.Array, zone: ZoneInfo) -> pa.Array:
    missing = wall.is_null().to_numpy(zero_copy_only=False)
    wall_us = wall.cast(pa.int64()).fill_null(0).to_numpy()
    return pa.array(local_to_utc_us(wall_us, zone), mask=missing).cast(pa.timestamp("us")).cast(ARROW_TYPES["moment"])


def _parse_boolean(text: pa.Array, rules: ReadingRules) -> pa.Array:  # noqa: ARG001
    lower = pc.utf8_lower(text)
    true = pc.is_in(lower, value_set=pa.array(TRUE_WORDS))
    known = pc.is_in(lower, value_set=pa.array(TRUE_WORDS + FALSE_WORDS))
    return pc.if_else(known, true, None)


def _parse_integer(text: pa.Array, rules: ReadingRules) -> pa.Array:  # noqa: ARG001
    return _cast_each(_matching(text, _INTEGER), pa.int64())


def _parse_number(text: pa.Array, rules: ReadingRules) -> pa.Array:  # noqa: ARG001
    return _cast_each(_matching(text, _NUMBER), pa.float64())


_PARSERS: Final[Mapping[ColumnKind, Callable[[pa.Array, ReadingRules], pa.Array]]] = {
    "text": _parse_text,
    "date": _parse_date,
    "moment": _parse_moment,
    "boolean": _parse_boolean,
    "integer": _parse_integer,
    "number": _parse_number,
}


def _cast_typed(kind: ColumnKind, written: pa.Array, target: pa.DataType, rules: ReadingRules) -> pa.Array:
    """Values of a Parquet column that is not text."""
    is_moment = pa.types.is_timestamp(written.type)
    if kind == "moment" and is_moment and written.type.tz is None:
        return _wall_to_utc(_cast_each(written, pa.timestamp("us")), rules.zone)
    if kind == "moment" and pa.types.is_date(written.type):
        return _wall_to_utc(written.cast(pa.timestamp("us")), rules.zone)
    if kind == "date" and is_moment and written.type.tz is None:
        days = _cast_each(written, target)
        return pc.if_else(pc.equal(days.cast(written.type), written), days, None)
    fits = {
        "date": pa.types.is_date(written.type),
        "moment": is_moment,
        "boolean": pa.types.is_boolean(written.type),
        "integer": pa.types.is_integer(written.type) or pa.types.is_floating(written.type),
        "number": pa.types.is_integer(written.type) or pa.types.is_floating(written.type),
        "text": False,
    }
    if fits[kind]:
        return _cast_each(written, target)
    return _PARSERS[kind](_as_text(written), rules)


def _as_text(written: pa.Array) -> pa.Array:
    """Typed values as they would stand in a CSV file; a whole float has no decimal point, so that an identifier that
    once passed through a float column is still itself.
    """
    if pa.types.is_floating(written.type):
        whole = _cast_each(written, pa.int64())
        return pc.coalesce(whole.cast(pa.string()), written.cast(pa.string()))
    return written.cast(pa.string())


def _chosen(column: Column, values: pa.Array) -> tuple[pa.Array, list[int]]:
    aliases = dict(column.aliases)
    chosen = [aliases.get(value, value) if value is not None else None for value in values.to_pylist()]
    allowed = frozenset(column.choices)
    unknown = [at for at, value in enumerate(chosen) if value is not None and value not in allowed]
    return pa.array(chosen, pa.string()), unknown


def _text_problems(values: pa.Array) -> dict[int, str]:
    problems: dict[int, str] = {}
    lengths = pc.utf8_length(values)
    if (pc.max(lengths).as_py() or 0) > MAX_TEXT_LENGTH:
        problems |= dict.fromkeys(
            _true_at(pc.greater(lengths, MAX_TEXT_LENGTH)), f"longer than {MAX_TEXT_LENGTH} characters"
        )
    if _any_byte_below(values, 32) or pc.any(pc.match_substring(values, "\x7f")).as_py():
        problems |= dict.fromkeys(_true_at(pc.match_substring_regex(values, _CONTROL)), "text with a control character")
    return problems


def _range_problems(column: Column, values: pa.Array) -> dict[int, str]:
    numbers = values.cast(pa.float64(), safe=False)
    outside = pc.invert(pc.is_finite(numbers))
    if column.minimum is not None:
        outside = pc.or_(outside, pc.less(numbers, column.minimum))
    if column.maximum is not None:
        outside = pc.or_(outside, pc.greater(numbers, column.maximum))
    return dict.fromkeys(_true_at(outside), f"not in the range {_range_text(column)}")


def _range_text(column: Column) -> str:
    low = "-infinity" if column.minimum is None else f"{column.minimum:g}"
    high = "infinity" if column.maximum is None else f"{column.maximum:g}"
    return f"{low} to {high}"


def _time_problems(column: Column, values: pa.Array, rules: ReadingRules) -> dict[int, str]:
    birth = column.name == "birth_date"
    earliest = EARLIEST_BIRTH if birth else EARLIEST_DATE
    latest = rules.now.astimezone(rules.zone).date() if birth else rules.latest_date
    if column.kind == "date":
        low, high = pa.scalar(earliest), pa.scalar(latest)
    else:
        low, high = _moment_scalar(earliest), _moment_scalar(latest + timedelta(days=1))
    problems = dict.fromkeys(_true_at(pc.less(values, low)), f"before {earliest.isoformat()}")
    late = "in the future" if birth else f"after {latest.isoformat()}, more than two years ahead"
    return problems | dict.fromkeys(_true_at(pc.greater(values, high)), late)


def _moment_scalar(day: date) -> pa.Scalar:
    return pa.scalar(datetime(day.year, day.month, day.day, tzinfo=UTC), ARROW_TYPES["moment"])


def _true_at(flags: pa.Array) -> Sequence[int]:
    return np.flatnonzero(flags.fill_null(False).to_numpy(zero_copy_only=False)).tolist()  # noqa: FBT003
