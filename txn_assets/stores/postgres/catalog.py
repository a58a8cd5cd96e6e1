"""Read PostgreSQL's catalog, and find what the sink's tables lack and which columns would change or lose a value.

A column that could silently change a value is refused before the first row. A column that rejects a value with an error
is allowed, because the load then fails, names the column in its message, and changes nothing. See docs/operations.md,
'A PostgreSQL table that already exists'.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from txn_assets.rows.kinds import DecimalKind, EnumerationKind, Kind, TextKind, WholeKind
from txn_assets.stores.postgres import sql as statements
from txn_assets.stores.postgres.sql import Table

if TYPE_CHECKING:
    import psycopg

BINARY_FLOATS = ("real", "double precision")
"""Types of decimals in tables of the original pipeline: allowed, with a warning."""
HASH_LENGTH = 64

_ENCODINGS = ("UTF8", "SQL_ASCII")
"""Database encodings that store all text byte for byte."""
_TABLES = {"r": "table", "p": "partitioned table", "f": "foreign table"}
_OTHER_RELATIONS = {"v": "view", "m": "materialized view", "S": "sequence", "c": "composite type", "i": "index"}
_WHOLE_NUMBERS = ("bigint", "integer", "smallint")
_NUMERIC = re.compile(r"numeric(?:\((\d+),(-?\d+)\))?")
_CHARACTERS = re.compile(r"(character varying|character)(?:\((\d+)\))?")

_READ_COLUMNS = """
SELECT c.relname, c.relkind, a.attname, format_type(base.type, base.modifier), a.attgenerated <> '',
    coalesce(l.collisdeterministic, true), a.attnotnull AND NOT a.atthasdef
FROM pg_namespace n
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = ANY(%s)
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN LATERAL (
    WITH RECURSIVE unwrapped(type, modifier) AS (
        SELECT a.atttypid, a.atttypmod
        UNION ALL
        SELECT t.typbasetype, t.typtypmod FROM unwrapped u JOIN pg_type t ON t.oid = u.type WHERE t.typtype = 'd'
    )
    SELECT u.type, u.modifier FROM unwrapped u JOIN pg_type t ON t.oid = u.type WHERE t.typtype <> 'd'
) base ON true
WHERE n.nspname = %s
ORDER BY a.attnum
"""
"""Columns of the named relations in a schema, with domains resolved to base types; one row of nulls if none exists."""

_READ_INDEXED = """
SELECT a.attname
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE n.nspname = %s AND c.relname = %s AND i.indisvalid AND i.indpred IS NULL
"""
"""The columns that come first in an index of a table."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        kind: the type as `format_type` writes it, with domains resolved to base types.
        generated: whether PostgreSQL computes it.
        deterministic: whether the collation treats strings as equal only if their bytes are equal.
        required: whether a row needs a value for it: it is NOT NULL without a default.
    """

    kind: str
    generated: bool = False
    deterministic: bool = True
    required: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """A named object in a schema; `kind` is pg_class.relkind."""

    kind: str
    columns: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a database already has for the sink: the schema, the tables and the indexes.

    Attributes:
        encoding: the encoding of the database.
        indexed: the columns of the data table that come first in an index.
    """

    schema: bool
    data: Relation | None
    ledger: Relation | None
    rejects: Relation | None
    indexed: frozenset[str]
    encoding: str = "UTF8"

    def inexact(self, table: Table) -> list[str]:
        """Return the columns of decimals that `table` stores as binary floating-point numbers."""
        there = self.data.columns if self.data else {}
        decimals = table.contract.of_kind(DecimalKind)
        return [name for name in decimals if name in there and there[name].kind in BINARY_FLOATS]


EMPTY = Catalog(schema=False, data=None, ledger=None, rejects=None, indexed=frozenset())
"""The catalog of a database without the schema."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a table, and the statement that fixes it, if there is one."""

    problem: str
    remedy: sql.Composed | None = None


def read(connection: "psycopg.Connection[Any]", table: Table) -> Catalog:
    """Return what the database already has for `table`. Any role may read the catalog."""
    names = [table.name, table.ledger_name, table.rejects_name]
    rows = connection.execute(_READ_COLUMNS, [names, table.schema]).fetchall()
    relations: dict[str, tuple[str, dict[str, Column]]] = {}
    for relation, kind, column, *properties in rows:
        if relation is not None:
            _, columns = relations.setdefault(relation, (kind, {}))
            if column is not None:
                columns[column] = Column(*properties)
    data, ledger, rejects = (Relation(*relations[name]) if name in relations else None for name in names)
    indexed = connection.execute(_READ_INDEXED, [table.schema, table.name]).fetchall()
    encoding = connection.info.parameter_status("server_encoding") or "UTF8"
    return Catalog(bool(rows), data, ledger, rejects, frozenset(name for (name,) in indexed), encoding)


def missing(catalog: Catalog, table: Table) -> list[sql.Composed]:
    """Return the statements that create what a load needs and `catalog` lacks. A complete table is not locked."""
    found: list[sql.Composed] = []
    if not catalog.schema:
        found.append(statements.create_schema(table))
    there = catalog.data.columns if catalog.data else {}
    if catalog.data is None:
        found.append(statements.create_data(table))
    elif added := {name: kind for name, kind in table.columns.items() if name not in there}:
        found.append(statements.add_columns(table.data, added))
    if "source_file" not in catalog.indexed:
        found.append(statements.create_index(table, "source_file"))
    # Only readers need this index, so do not create it again if the owner drops it.
    key = table.contract.partition_key
    if key and "source_file" not in there and key not in catalog.indexed:
        found.append(statements.create_index(table, key))
    found += _missing_in_ledger(catalog.ledger, table)
    return found if catalog.rejects else [*found, *statements.create_rejects(table)]


def _missing_in_ledger(ledger: Relation | None, table: Table) -> Iterator[sql.Composed]:
    if ledger is None:
        yield statements.create_ledger(table)
        return
    wanted = table.ledger_columns
    if added := {name: kind for name, kind in wanted.items() if name not in ledger.columns}:
        # The rows that are there have no value: it was not recorded.
        yield statements.add_columns(
            table.ledger, {name: kind.removesuffix(" NOT NULL") for name, kind in added.items()}
        )
    # Sums of columns that the feed no longer has.
    if unused := [name for name, column in ledger.columns.items() if name not in wanted and column.required]:
        yield statements.allow_null(table.ledger, unused)


def faults(catalog: Catalog, table: Table) -> list[Fault]:
    """Return what keeps the tables from holding every valid row unchanged."""
    found: list[Fault] = []
    if catalog.encoding not in _ENCODINGS:
        problem = f"its database is encoded in {catalog.encoding}: create one with ENCODING 'UTF8', and name it in "
        found.append(Fault(problem + "data_warehouse.postgres.dbname"))
    if catalog.data:
        found += _relation_faults(catalog.data, table.name, table) or _data_faults(catalog.data.columns, table)
    if catalog.ledger:
        found += _relation_faults(catalog.ledger, table.ledger_name, table) or _ledger_faults(
            catalog.ledger.columns, table
        )
    if catalog.rejects:
        found += _relation_faults(catalog.rejects, table.rejects_name, table)
    return found


def sentence(found: list[Fault], table: Table) -> str:
    """Return a message that says what is wrong with `table` and what to do about it."""
    problems = "; ".join(fault.problem for fault in found)
    remedies = statements.script(fault.remedy for fault in found if fault.remedy)
    ask = f" The owner of the table can run: {remedies}" if remedies else ""
    return f"PostgreSQL table {table} cannot be loaded: {problems}.{ask}"


def _relation_faults(relation: Relation, name: str, table: Table) -> list[Fault]:
    if relation.kind in _TABLES:
        return []
    kind = _OTHER_RELATIONS.get(relation.kind, "relation of another kind")
    return [Fault(f"{name} is a {kind}: rename it, or name another table in {table.feed.postgres_table_key}")]


def _ledger_faults(columns: Mapping[str, Column], table: Table) -> Iterator[Fault]:
    if lacking := [name for name in ("source_file", "generation") if name not in columns]:
        yield Fault(
            f"{table.ledger_name} is not a ledger, because it lacks the columns {', '.join(lacking)}: rename it, or "
            f"name another table in {table.feed.postgres_table_key}"
        )


def _data_faults(columns: Mapping[str, Column], table: Table) -> Iterator[Fault]:
    for name, kind in table.contract.table_columns.items():
        if name not in columns:
            if alike := next((other for other in columns if other.lower() == name), None):
                yield _misspelled(alike, name, table)
            continue
        column = columns[name]
        if column.generated:
            yield Fault(
                f'column "{name}" is generated by PostgreSQL',
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP EXPRESSION").format(table.data, sql.Identifier(name)),
            )
        elif problem := _problem(name, kind, column.kind, table):
            wanted = _wanted_type(kind, column)
            yield Fault(f'column "{name}" is {problem}', statements.change_type(table, name, wanted))
        elif name == "source_file" and not column.deterministic:
            yield Fault(
                f'column "{name}" has a collation in which different names are equal',
                sql.SQL('ALTER TABLE {} ALTER COLUMN {} TYPE text COLLATE "C"').format(
                    table.data, sql.Identifier(name)
                ),
            )


def _misspelled(found: str, name: str, table: Table) -> Fault:
    rename = sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
        table.data, sql.Identifier(found), sql.Identifier(name)
    )
    return Fault(f'column "{found}" is not named "{name}"', rename)


def _problem(name: str, kind: Kind, found: str, table: Table) -> str | None:
    """Return what is wrong with a column of the type `found` for values of `kind`."""
    if isinstance(kind, DecimalKind):
        return _decimal_problem(found, kind, table.feed.rule_key(name, "max_decimals"))
    if isinstance(kind, WholeKind):
        whole = found in _WHOLE_NUMBERS or found == "numeric" or _scale(found) == 0
        return None if whole else f"{found} instead of a whole number"
    if isinstance(kind, (TextKind, EnumerationKind)):
        return _text_problem(found, hashed=name in table.contract.pii_fields)
    return None if found == kind.postgres else f"{found} instead of {kind.postgres}"


def _decimal_problem(found: str, kind: DecimalKind, rule: str) -> str | None:
    if found in BINARY_FLOATS or found == "numeric":
        return None
    scale = _scale(found)
    if scale is None:
        return f"{found} instead of numeric"
    if scale >= kind.decimals:
        return None
    lower = f" (set it to {scale} if no value has more)" if scale >= 0 else ""
    return f"{found} and would round values, which have up to {kind.decimals} decimals under {rule}{lower}"


def _text_problem(found: str, *, hashed: bool) -> str | None:
    if found == "text":
        return None
    match = _CHARACTERS.fullmatch(found)
    if match is None:
        return f"{found} instead of text"
    length = int(match[2]) if match[2] else None
    if hashed and length is not None and length < HASH_LENGTH:
        return f"{found}, too short for the {HASH_LENGTH} characters of a hash"
    if match[1] == "character" and not (hashed and length == HASH_LENGTH):
        return f"{found}, which pads values with blanks"
    return None


def _scale(kind: str) -> int | None:
    """Return how many decimals a bounded numeric type keeps; None for other types."""
    match = _NUMERIC.fullmatch(kind)
    return int(match[2]) if match and match[2] else None


def _wanted_type(kind: Kind, column: Column) -> str:
    """Return the type that the column should have, wide enough for what a numeric column already holds."""
    match = _NUMERIC.fullmatch(column.kind)
    if not isinstance(kind, DecimalKind) or not match or not match[1]:
        return kind.postgres
    whole = max(int(match[1]) - int(match[2]), kind.whole_digits)
    return f"numeric({whole + kind.scale},{kind.scale})"
