"""Create missing BigQuery tables, and check existing ones before the first row is loaded.

The `*_faults` functions are pure; `prepare` calls BigQuery and raises what they find. An existing table keeps its
columns, types and partitioning if it can hold every valid value. See docs/reliability.md, 'BigQuery tables'.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from txn_assets.feeds.feed import Feed
from txn_assets.rows.kinds import DecimalKind
from txn_assets.stores.bigquery import sql as statements
from txn_assets.stores.errors import StoreError

type PartitionBy = Literal["month", "day"]

DIGEST_DIGITS = 64

_WIDENED = {("INT64", "NUMERIC"), ("NUMERIC", "NUMERIC"), ("BIGNUMERIC", "BIGNUMERIC"), ("STRING", "STRING")}
"""Type changes that BigQuery makes in place:
https://cloud.google.com/bigquery/docs/managing-table-schemas#change_a_columns_data_type"""


def standard_type(kind: str) -> str:
    """Return the GoogleSQL name of a type from the API."""
    return {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL"}.get(kind.upper(), kind.upper())


def column_faults(tables: statements.Tables, fields: Iterable[bigquery.SchemaField]) -> list[str]:
    """Return why an existing data table cannot hold every valid row: a sentence with a remedy per fault.

    BigQuery silently rounds a value that has more decimals than its column
    (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#parameterized_decimal_type). If text is
    too long or a number has too many digits, the load fails instead.
    """
    return [fault for field in fields for fault in _column_faults(tables, field)]


def _column_faults(tables: statements.Tables, field: bigquery.SchemaField) -> Iterator[str]:
    feed, contract, table = tables.feed, tables.contract, tables.data_id
    name, kind = field.name.casefold(), standard_type(field.field_type)
    nullable = f"run ALTER TABLE `{table}` ALTER COLUMN {field.name} DROP NOT NULL."
    wanted = contract.table_columns.get(name)
    if wanted is None:
        if field.mode == "REQUIRED" and not field.default_value_expression:
            yield f"Column {field.name} is required, but no file has it: {nullable}"
    elif field.mode == "REPEATED":
        yield f"Column {field.name} is repeated. {_copy(table, feed)}"
    elif kind not in wanted.bigquery_fits:
        change = _change(tables, field, kind, wanted.bigquery)
        yield f"Column {field.name} is {kind} instead of {wanted.bigquery}. {change}"
    elif isinstance(wanted, DecimalKind) and field.precision is not None and (field.scale or 0) < wanted.decimals:
        yield (
            f"Column {field.name} keeps {field.scale or 0} decimals, but {feed.rule_key(name, 'max_decimals')} is "
            f"{wanted.decimals}: lower that, or run ALTER TABLE `{table}` ALTER COLUMN {field.name} "
            f"SET DATA TYPE {kind}."
        )
    elif field.max_length is not None and name in contract.pii_fields and field.max_length < DIGEST_DIGITS:
        yield (
            f"Column {field.name} takes {field.max_length} characters, but a hashed value has {DIGEST_DIGITS}. "
            f"{_change(tables, field, kind, kind)}"
        )
    elif field.mode == "REQUIRED" and name in set(contract.names) - contract.required:
        yield f"Column {field.name} is required, but {feed.required_key} allows empty values: {nullable}"
    elif name == "source_file" and _collation(field):
        yield _collation_fault(table, field, feed)


def ledger_faults(tables: statements.Tables, fields: Iterable[bigquery.SchemaField]) -> list[str]:
    """Return why the existing ledger cannot be used."""
    return [
        _collation_fault(tables.ledger_id, field, tables.feed)
        for field in fields
        if field.name.casefold() == "source_file" and _collation(field)
    ]


def expiration_faults(table: bigquery.Table) -> list[str]:
    """Return how BigQuery would expire rows of `table`: a sentence with a remedy per fault.

    A new table inherits both expirations from its dataset. The BigQuery sandbox sets them to 60 days
    (https://cloud.google.com/bigquery/docs/sandbox#limitations).
    """
    name, faults = _name(table), []
    if table.expires is not None:
        faults.append(
            f"Table {name} expires at {table.expires:%Y-%m-%d %H:%M} UTC, and all its rows with it: run "
            f"ALTER TABLE `{name}` SET OPTIONS (expiration_timestamp = NULL)."
        )
    partitioning = table.time_partitioning
    if partitioning is not None and partitioning.expiration_ms:
        days = dt.timedelta(milliseconds=partitioning.expiration_ms) / dt.timedelta(days=1)
        faults.append(
            f"Partitions of {name} expire {days:g} days after their date, so older rows are deleted at once: run "
            f"ALTER TABLE `{name}` SET OPTIONS (partition_expiration_days = NULL)."
        )
    return faults


def prepare(
    client: bigquery.Client,
    tables: statements.Tables,
    partition_by: PartitionBy,
    *,
    no_retry: Mapping[str, Any],
) -> bigquery.Table:
    """Create the tables or add what existing ones lack; return the data table.

    The ledger is created last, so if it exists with the columns of this release, the other two exist too.

    Raises:
        StoreError: a table cannot hold every valid row, or BigQuery would remove rows from it; no row was changed.
    """
    data = get_or_create(client, data_table(tables, partition_by), no_retry)
    _refuse([*_kind_faults(data, tables.feed), *expiration_faults(data), *column_faults(tables, data.schema)])
    data = _add_columns(client, data, tables.columns, no_retry)
    ledger = _find(client, ledger_table(tables), no_retry)
    if ledger is None or "records" not in column_types(ledger):
        get_or_create(client, rejects_table(tables), no_retry)
    ledger = ledger or _create(client, ledger_table(tables), no_retry)
    _refuse([*expiration_faults(ledger), *ledger_faults(tables, ledger.schema)])
    _add_columns(client, ledger, tables.ledger_columns, no_retry)
    return data


def column_types(table: bigquery.Table) -> dict[str, str]:
    """Return the type of each column of `table` by lower-case name, because BigQuery ignores case in column names."""
    return {field.name.casefold(): standard_type(field.field_type) for field in table.schema}


def data_table(tables: statements.Tables, partition_by: PartitionBy) -> bigquery.Table:
    """Return the definition of a new data table, partitioned by the partition key if the feed has one.

    A table has at most 10,000 partitions, and one job writes at most 4,000 of them
    (https://cloud.google.com/bigquery/quotas#partitioned_tables). Daily partitions
    run out after 27 years, monthly ones never. Partitions of a TIMESTAMP begin and end in UTC
    (https://cloud.google.com/bigquery/docs/partitioned-tables#date_timestamp_partitioned_tables).
    """
    key = tables.contract.partition_key
    layout: dict[str, Any] = {"clustering": {"fields": [key, "source_file"] if key else ["source_file"]}}
    if key:
        layout["timePartitioning"] = {"type": partition_by.upper(), "field": key}
    return make_table(tables.data_id, tables.columns, layout)


def ledger_table(tables: statements.Tables) -> bigquery.Table:
    """Return the definition of a new ledger."""
    return make_table(tables.ledger_id, tables.ledger_columns, {})


def rejects_table(tables: statements.Tables) -> bigquery.Table:
    """Return the definition of a new table of rejects.

    It grows with every rejected row, so it is partitioned by when they were noted: its owner may let partitions expire.
    """
    layout = {"timePartitioning": {"type": "MONTH", "field": "noted_at"}, "clustering": {"fields": ["source_file"]}}
    return make_table(tables.rejects_id, statements.REJECTS_COLUMNS, layout)


def load_table(table_id: str, columns: Mapping[str, str], expires: dt.datetime) -> bigquery.Table:
    """Return the definition of a load table with `columns`, which BigQuery deletes at `expires`."""
    table = make_table(table_id, columns, {})
    table.expires = expires
    return table


def make_schema(columns: Mapping[str, str]) -> list[bigquery.SchemaField]:
    """Return `columns` as schema fields for the API."""
    return [bigquery.SchemaField(name, kind) for name, kind in columns.items()]


def make_table(table_id: str, columns: Mapping[str, str], options: Mapping[str, Any]) -> bigquery.Table:
    """Return the definition of a table with `columns` and `options`, which are those of the API."""
    project, dataset, name = table_id.split(".")
    resource = {
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": name},
        "schema": {"fields": [field.to_api_repr() for field in make_schema(columns)]},
        # The dataset's default collation may ignore case, but a.csv and A.csv are different files.
        "defaultCollation": "",
    }
    return bigquery.Table.from_api_repr(resource | dict(options))


def get_or_create(client: bigquery.Client, wanted: bigquery.Table, no_retry: Mapping[str, Any]) -> bigquery.Table:
    """Return the table that has the name of `wanted`; create it without expiration if it is missing."""
    return _find(client, wanted, no_retry) or _create(client, wanted, no_retry)


def _find(client: bigquery.Client, wanted: bigquery.Table, no_retry: Mapping[str, Any]) -> bigquery.Table | None:
    try:
        return client.get_table(wanted.reference, **no_retry)
    except NotFound:
        return None


def _create(client: bigquery.Client, wanted: bigquery.Table, no_retry: Mapping[str, Any]) -> bigquery.Table:
    made = client.create_table(wanted, exists_ok=True, **no_retry)
    if not expiration_faults(made):
        return made
    # Expiration cannot be turned off at creation, because null then means the dataset's default.
    made.expires = None
    changed = ["expires"]
    if made.time_partitioning is not None:
        made.time_partitioning.expiration_ms = None
        changed.append("time_partitioning")
    return client.update_table(made, changed, **no_retry)


def _add_columns(
    client: bigquery.Client, table: bigquery.Table, columns: Mapping[str, str], no_retry: Mapping[str, Any]
) -> bigquery.Table:
    known = {field.name.casefold() for field in table.schema}
    added = [field for field in make_schema(columns) if field.name not in known]
    if not added:
        return table
    table.schema = [*table.schema, *added]
    return client.update_table(table, ["schema"], **no_retry)


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        message = "BigQuery was not loaded. " + " ".join(faults)
        raise StoreError(message)


def _kind_faults(table: bigquery.Table, feed: Feed) -> list[str]:
    if table.table_type in (None, "TABLE"):
        return []
    return [f"{_name(table)} is a {table.table_type.lower()}: name a table in {feed.bigquery_table_key}."]


def _name(table: bigquery.Table) -> str:
    return f"{table.project}.{table.dataset_id}.{table.table_id}"


def _collation(field: bigquery.SchemaField) -> str:
    return str(field.to_api_repr().get("collation") or "")


def _collation_fault(table: str, field: bigquery.SchemaField, feed: Feed) -> str:
    return (
        f"Column {field.name} of {table} ignores case ({_collation(field)}), but a.csv and A.csv are "
        f"different files. {_copy(table, feed)}"
    )


def _change(tables: statements.Tables, field: bigquery.SchemaField, kind: str, wanted: str) -> str:
    if (kind, wanted) in _WIDENED:
        return f"Run ALTER TABLE {tables.data} ALTER COLUMN {field.name} SET DATA TYPE {wanted}."
    return _copy(tables.data_id, tables.feed)


def _copy(table: str, feed: Feed) -> str:
    columns = "the columns that docs/reliability.md lists" if feed.is_first else "columns for the kinds of the feed"
    return (
        f"BigQuery cannot change that in place: copy the rows of {table} into a table with {columns}, or name another "
        f"table in {feed.bigquery_table_key}."
    )
