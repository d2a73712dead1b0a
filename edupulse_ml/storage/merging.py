"""The statements that merge a staged file into its table, composed from the table's columns.

`student_id` and `school_id` of a file become `student_key` and `school_key` in the store, for dated tables already in
`stage`. Identifiers come from `core.tables` only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from edupulse_ml.core.tables import ENROLLMENTS, TABLES, Table
from edupulse_ml.storage.sql import load_queries

_KEYS: Final = {"student_id": "student_key", "school_id": "school_key"}
KEY_TYPES: Final = {"student_id": "int8", "school_id": "int4"}
STAGE_TYPES: Final = {
    "text": "text",
    "date": "date",
    "moment": "timestamptz",
    "boolean": "bool",
    "integer": "int4",
    "number": "float4",
}
"""Types of the temporary table's columns, of keys and of other columns by kind."""
_SPLIT_BY_MONTH: Final = frozenset({"attendance_records", "grades", "discipline_incidents"})


@dataclass(frozen=True)
class MergePlan:
    """How one dated table is merged. `key`, `values` and `columns` are names in the store."""

    table: Table
    key: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.key + self.values

    @property
    def is_split_by_month(self) -> bool:
        return self.table.name in _SPLIT_BY_MONTH

    @property
    def is_loaded_by_month(self) -> bool:
        """Whether new months are loaded before they become partitions. The store keeps integers in two bytes, which a
        COPY that is not converted does not: tables with integers are small.
        """
        return self.is_split_by_month and all(column.kind != "integer" for column in self.table.columns)

    @property
    def key_holds_date(self) -> bool:
        """Whether the month of a row follows from its key."""
        return self.is_split_by_month and self.table.valid_date in self.key

    def compose(
        self,
        name: str,
        *,
        source: sql.Composable | None = None,
        month: sql.Composable | None = None,
        only_several: bool = False,
    ) -> sql.Composed:
        """Statement `name` of `queries/loading.sql` for this table, reading its rows from `source`; `month` is where
        rows of a new month lie.
        """
        several = sql.SQL("WHERE EXISTS (SELECT FROM several WHERE {same})").format(
            same=_equal(self.key, "several", "every")
        )
        return load_queries("loading")[name].format(
            table=sql.Identifier(self.table.name),
            source=source or sql.SQL(""),
            month=month or sql.SQL(""),
            key=_names(self.key),
            values=_names(self.values),
            columns=_names(self.columns),
            stored_columns=_names(self.columns, of="stored"),
            previous_values=sql.SQL(", ").join(
                sql.SQL("lag({}) OVER chain").format(sql.Identifier(column)) for column in self.values
            ),
            incoming_columns=_names(self.columns, of="incoming"),
            incoming_key=_names(self.key, of="incoming"),
            incoming_values=_names(self.values, of="incoming"),
            latest_values=_names(self.values, of="latest"),
            same_key_several=_equal(self.key, "several", "incoming"),
            same_key_stored=_equal(self.key, "incoming", "stored"),
            same_key_staged=_equal(self.key, "stage", "stored"),
            staged_key=_names(self.key, of="stage"),
            staged_values=_names(self.values, of="stage"),
            stored_values=_names(self.values, of="stored"),
            same_key_repeated=_equal(self.key, "stored", "repeated"),
            same_key_latest=_equal(self.key, "latest", "incoming"),
            same_version=_equal(dict.fromkeys((*self.key, *self._date)), "stored", "outcome"),
            only_several=several if only_several else sql.SQL(""),
            bound=self._bound(),
            key_in_month=self._key_in_month(),
            default_moment=self.usual_moment("incoming"),
        )

    def staged(self, *, with_moment: bool) -> sql.Composed:
        """Staged rows with or without `recorded_at`."""
        return sql.SQL("SELECT line, {columns}, recorded_at FROM stage WHERE {condition}").format(
            columns=_names(self.columns),
            condition=sql.SQL("recorded_at IS NOT NULL" if with_moment else "recorded_at IS NULL"),
        )

    def assigned(self) -> sql.Composed:
        """Rows that were given a moment by `assign_moments` and change something."""
        return sql.SQL(
            "SELECT line, {columns}, recorded_at FROM assigned WHERE NOT is_current AND NOT is_duplicate"
        ).format(columns=_names(self.columns))

    @property
    def _date(self) -> tuple[str, ...]:
        """The column that says in which month a row lies."""
        return (self.table.valid_date,) if self.table.valid_date is not None and self.is_split_by_month else ()

    def _bound(self) -> sql.Composable:
        """Spares the months that the file does not touch, where the key itself holds the date."""
        if self.table.valid_date is None or not self.key_holds_date:
            return sql.SQL("true")
        return sql.SQL(
            "stored.{date} BETWEEN (SELECT min({date}) FROM stage) AND (SELECT max({date}) FROM stage)"
        ).format(date=sql.Identifier(self.table.valid_date))

    def _key_in_month(self) -> sql.Composable:
        """Spares the keys of other months, where the key itself holds the date."""
        if self.table.valid_date is None or not self.key_holds_date:
            return sql.SQL("true")
        return sql.SQL(
            "repeated.{date} >= %(month)s::date AND repeated.{date} < (%(month)s::date + interval '1 month')"
        ).format(date=sql.Identifier(self.table.valid_date))

    def usual_moment(self, rows: str) -> sql.Composable:
        """When rows of this table are usually known, `rows` naming the relation that they stand in."""
        if self.table.valid_date is None:
            return sql.SQL("%(now)s")
        valid = sql.Identifier(rows, self.table.valid_date)
        kinds = {column.name: column.kind for column in self.table.columns}
        if kinds[self.table.valid_date] == "moment":
            return sql.SQL("({} + {} * interval '1 day')").format(valid, sql.Literal(self.table.lag_days))
        return sql.SQL("(({} + {})::timestamp AT TIME ZONE %(zone)s)").format(valid, sql.Literal(self.table.lag_days))


def references(table: Table) -> tuple[str, ...]:
    """Columns of a file that name a student or a school stored before it."""
    own = table.natural_key[0] if table.name in {"schools", "students"} else None
    return tuple(column.name for column in table.columns if column.name in _KEYS and column.name != own)


def stage_columns(table: Table) -> tuple[str, ...]:
    """The file's columns in the order in which `stage` has them, behind `line`."""
    plan = PLANS.get(table.name)
    if plan is None:
        return tuple(column.name for column in table.columns)
    given = {stored: name for name, stored in _KEYS.items()}
    return (*(given.get(column, column) for column in plan.columns), "recorded_at")


def create_stage(table: Table) -> sql.Composed:
    """The temporary table that holds a file; of a dated table with keys in place of identifiers, and with a column
    that says whose key may stand on another line.
    """
    kinds = {column.name: column.kind for column in table.columns}
    is_dated = table.name in PLANS
    types = {
        _KEYS[name] if is_dated and name in _KEYS else name: (
            KEY_TYPES[name] if is_dated and name in _KEYS else STAGE_TYPES[kinds[name]]
        )
        for name in stage_columns(table)
    }
    if is_dated:
        types["is_repeated"] = "bool"
    return load_queries("loading")["create_stage"].format(
        definitions=sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.Identifier(kind)) for name, kind in types.items()
        )
    )


def duplicate_lines(table: Table) -> sql.Composed:
    """Lines of the stage whose natural key stands on an earlier line."""
    return load_queries("upserts")["duplicate_lines"].format(key=_names(table.natural_key))


def attribute_upsert(attributes: Iterable[str]) -> sql.Composed:
    """Merge of the audit attributes of the staged students."""
    return load_queries("upserts")["student_attributes"].format(
        pairs=sql.SQL(", ").join(
            sql.SQL("({}, {})").format(sql.Literal(name), sql.Identifier("first", name)) for name in attributes
        )
    )


def _plan(table: Table) -> MergePlan:
    stored = {column.name: _KEYS.get(column.name, column.name) for column in table.columns}
    key = tuple(stored[name] for name in table.natural_key)
    values = tuple(name for name in stored.values() if name not in key and name != "recorded_at")
    return MergePlan(table, key, values)


def _names(columns: Iterable[str], *, of: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.Identifier(column) if of is None else sql.Identifier(of, column) for column in columns
    )


def _equal(columns: Iterable[str], left: str, right: str) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, column), sql.Identifier(right, column)) for column in columns
    )


PLANS: Final = {table.name: _plan(table) for table in TABLES if table.bitemporal}
SPLITS_CLOSED_ROWS: Final = ENROLLMENTS.name
"""The table whose rows, new and without `recorded_at`, stand for two versions: begun, and ended."""
