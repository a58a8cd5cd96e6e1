"""Look up tables of the embedded BigQuery without listing them all, and once per snapshot of their lake.

local-bigquery asks about 100 times per load whether a table is there and which columns it has, and lists the tables or
columns of all databases each time: 6 ms of processor time or more. One table takes 2.4 ms in the metadata of its lake,
and 0.4 ms if it is the result of a query. What was found is good until a statement commits, which makes a snapshot; to
ask for the latest takes 0.5 ms. A list of tables still comes from local-bigquery.
"""

from collections.abc import Callable, Sequence
from typing import Any

import duckdb
from local_bigquery.catalog import tables
from local_bigquery.engine import database

type Found = list[tuple[str, str, int]]
"""Name, `TABLE` or `VIEW`, and number of rows."""

_RESULTS = "emulator"
"""The database that has the result of each query as a table."""

_CATALOG_QUERIES = tuple(
    f"SELECT {columns} WHERE database_name = ? "
    for columns in ("1 FROM duckdb_schemas()", "1 FROM duckdb_columns()", "column_name FROM duckdb_columns()")
)
"""Whether a dataset is there, whether a column is there, and which columns are required."""

_TABLE = """
    SELECT table_name, 'TABLE', coalesce((SELECT record_count FROM {0}.ducklake_table_stats AS s
        WHERE s.table_id = t.table_id), 0)
    FROM {0}.ducklake_table AS t WHERE end_snapshot IS NULL AND table_name = $2 AND schema_id = (
        SELECT schema_id FROM {0}.ducklake_schema WHERE end_snapshot IS NULL AND schema_name = $1)
"""
_VIEW = """
    SELECT view_name, 'VIEW', 0
    FROM {0}.ducklake_view AS v WHERE end_snapshot IS NULL AND view_name = $2 AND schema_id = (
        SELECT schema_id FROM {0}.ducklake_schema WHERE end_snapshot IS NULL AND schema_name = $1)
"""


def install() -> None:
    """Replace local-bigquery's own look-ups."""
    database.objects = _per_snapshot(_one_table(database.objects))
    database.fetch = _catalog_per_snapshot(_without_columns_of_results(database.fetch))
    tables.columns = _per_snapshot(tables.columns)


def _per_snapshot[T](look_up: Callable[..., T]) -> Callable[..., T]:
    """Keep what `look_up` found until the lake of its project has another snapshot."""
    kept: dict[str, tuple[int, dict[tuple[Any, ...], T]]] = {}

    def found(project: str, *place: Any) -> T:  # noqa: ANN401 - the arguments of `look_up`
        # Results of queries are in no lake.
        snapshot = None if project == _RESULTS or tables.RESULTS in place else _snapshot(project)
        if snapshot is None:
            return look_up(project, *place)
        if project not in kept or kept[project][0] != snapshot:
            kept[project] = snapshot, {}
        of_snapshot = kept[project][1]
        if place not in of_snapshot:
            # If another statement commits meanwhile, the next look-up sees another snapshot and asks again.
            of_snapshot[place] = look_up(project, *place)
        return of_snapshot[place]

    return found


def _catalog_per_snapshot(fetch: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Keep what a query of DuckDB's lists of schemas and columns found; its first parameter is the project."""
    ask_catalog = _per_snapshot(lambda project, sql, *params: fetch(sql, [project, *params]))

    def fetch_rows(sql: str, params: Sequence[Any] | None = None) -> list[Any]:
        if params and sql.startswith(_CATALOG_QUERIES):
            project, *others = params
            return ask_catalog(project, sql, *others)
        return fetch(sql, params)

    return fetch_rows


def _snapshot(project: str) -> int | None:
    lake = database.quote(f"__ducklake_metadata_{project}")
    try:
        ((snapshot,),) = database.fetch(f"SELECT max(snapshot_id) FROM {lake}.ducklake_snapshot")  # noqa: S608 - a quoted name
    except (duckdb.BinderException, duckdb.CatalogException):
        # The project has no lake.
        return None
    return int(snapshot)


def _one_table(list_tables: Callable[..., Found]) -> Callable[..., Found]:
    def objects(project: str, dataset: str, table: str | None = None) -> Found:
        if table is None:
            return list_tables(project, dataset)
        if project == _RESULTS:
            try:
                ((rows,),) = database.fetch(f"SELECT count(*) FROM {database.quote(project, dataset, table)}")  # noqa: S608 - quoted names
            except duckdb.CatalogException:
                return []
            return [(table, "TABLE", rows)]
        lake = database.quote(f"__ducklake_metadata_{project}")
        try:
            found: Found = database.fetch(_TABLE.format(lake), [dataset, table])
            return found or database.fetch(_VIEW.format(lake), [dataset, table])
        except (duckdb.BinderException, duckdb.CatalogException):
            # The project has no lake.
            return []

    return objects


def _without_columns_of_results(fetch: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def fetch_rows(sql: str, params: Sequence[Any] | None = None) -> list[Any]:
        # No column of a result is required, so the list of required columns is empty.
        if params and params[0] == _RESULTS and "NOT is_nullable" in sql:
            return []
        return fetch(sql, params)

    return fetch_rows
