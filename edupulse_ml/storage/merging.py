"""The statements that merge a staged file into its table, composed from the table's columns.

`student_id` and `school_id` of a file become `student_key` and `school_key` in the store. Identifiers come from
`core.tables` only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from edupulse_ml.core.tables import ENROLLMENTS, TABLES, Table
from edupulse_ml.storage.sql import load_queries

_KEYS: Final = {"student_id": "student_key", "school_id": "school_key"}
_JOINS: Final = {
    "student_id": sql.SQL("JOIN students AS student ON student.student_id = stage.student_id"),
    "school_id": sql.SQL("JOIN schools AS school ON school.school_id = stage.school_id"),
}
_RESOLVED: Final = {"student_id": sql.SQL("student.student_key"), "school_id": sql.SQL("school.school_key")}
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
    def refers_to(self) -> tuple[str, ...]:
        """Columns of the file that name a student or a school."""
        return references(self.table)

    def compose(self, name: str, *, source: sql.Composable | None = None, only_several: bool = False) -> sql.Composed:
        """Statement `name` of `queries/loading.sql` for this table, reading its rows from `source`."""
        several = sql.SQL("WHERE EXISTS (SELECT FROM several WHERE {same})").format(
            same=_equal(self.key, "several", "every")
        )
        return load_queries("loading")[name].format(
            table=sql.Identifier(self.table.name),
            source=source or sql.SQL(""),
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
            same_key_latest=_equal(self.key, "latest", "incoming"),
            same_version=_equal(self.key, "stored", "outcome"),
            only_several=several if only_several else sql.SQL(""),
            bound=self._bound(),
            default_moment=self._default_moment(),
        )

    def staged(self, *, with_moment: bool) -> sql.Composed:
        """Staged rows with or without `recorded_at`, keys resolved; rows that refer to nothing are absent."""
        file_names = {stored: given for given, stored in _KEYS.items()}
        columns = [
            _RESOLVED[file_names[column]] if column in file_names else sql.Identifier("stage", column)
            for column in self.columns
        ]
        return sql.SQL("SELECT stage.line, {columns}, stage.recorded_at FROM stage {joins} WHERE {condition}").format(
            columns=sql.SQL(", ").join(columns),
            joins=sql.SQL(" ").join(_JOINS[name] for name in self.refers_to),
            condition=sql.SQL("stage.recorded_at IS NOT NULL" if with_moment else "stage.recorded_at IS NULL"),
        )

    def assigned(self) -> sql.Composed:
        """Rows that were given a moment by `assign_moments` and change something."""
        return sql.SQL(
            "SELECT line, {columns}, recorded_at FROM assigned WHERE NOT is_current AND NOT is_duplicate"
        ).format(columns=_names(self.columns))

    def _bound(self) -> sql.Composable:
        """Spares the months that the file does not touch, where the key itself holds the date."""
        if self.table.valid_date not in self.key or not self.is_split_by_month:
            return sql.SQL("true")
        return sql.SQL(
            "stored.{date} BETWEEN (SELECT min({date}) FROM stage) AND (SELECT max({date}) FROM stage)"
        ).format(date=sql.Identifier(self.table.valid_date))

    def _default_moment(self) -> sql.Composable:
        if self.table.valid_date is None:
            return sql.SQL("%(now)s")
        valid = sql.Identifier("incoming", self.table.valid_date)
        kinds = {column.name: column.kind for column in self.table.columns}
        if kinds[self.table.valid_date] == "moment":
            return sql.SQL("({} + {} * interval '1 day')").format(valid, sql.Literal(self.table.lag_days))
        return sql.SQL("(({} + {})::timestamp AT TIME ZONE %(zone)s)").format(valid, sql.Literal(self.table.lag_days))


def references(table: Table) -> tuple[str, ...]:
    """Columns of a file that name a student or a school stored before it."""
    own = table.natural_key[0] if table.name in {"schools", "students"} else None
    return tuple(column.name for column in table.columns if column.name in _KEYS and column.name != own)


def unresolved(table: Table) -> sql.Composed:
    """Lines of the stage that refer to an unknown student or school."""
    refers_to = references(table)
    return load_queries("loading")["unresolved"].format(
        left_joins=sql.SQL(" ").join(sql.SQL("LEFT {}").format(_JOINS[name]) for name in refers_to),
        unknown_student=sql.SQL("student.student_key IS NULL" if "student_id" in refers_to else "false"),
        unknown_school=sql.SQL("school.school_key IS NULL" if "school_id" in refers_to else "false"),
    )


def create_stage(table: Table, types: dict[str, str]) -> sql.Composed:
    """The temporary table that holds a file; `types` maps column kinds to PostgreSQL types."""
    return load_queries("loading")["create_stage"].format(
        definitions=sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column.name), sql.Identifier(types[column.kind]))
            for column in table.columns
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
