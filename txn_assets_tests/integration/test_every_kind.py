"""A feed described in YAML with every kind of values, at its limits: what was sent is in every store, cell by cell."""

import csv
import datetime as dt
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from txn_assets.defs.checks import reconcile
from txn_assets.defs.services import open_services
from txn_assets.feeds.feed import Feed
from txn_assets.files.values import HashedFiles, from_json
from txn_assets.rows.fingerprint import BIGQUERY, POSTGRES, Dialect, select_fingerprint
from txn_assets.rows.kinds import KINDS
from txn_assets.stores.registry import STORES
from txn_assets_tests.deployment import Deployment, failed_checks

MOODS = [
    "très bon",
    "a|b",
    'say "hi"',
    "semi;colon",
    "back\\slash",
    "NULL",
    "\\N",
    "it's",
    "😀 ok",
    "$^.*+?()[]{}",
    "a,b",
]

REQUIRED: dict[str, dict[str, Any]] = {
    "id": {"kind": "identifier", "row_id": True},
    "person": {"kind": "text", "pii": True},
    "order": {"kind": "text"},
    "count": {"kind": "whole"},
    "amount": {"kind": "money", "scale": 2},
    "units": {"kind": "money", "scale": 0},
    "price": {"kind": "money"},
    "tenths": {"kind": "decimal", "scale": 1},
    "thousandths": {"kind": "decimal", "scale": 3, "whole_digits": 6},
    "exact": {"kind": "decimal", "scale": 9, "whole_digits": 25},
    "degrees": {"kind": "decimal", "scale": 0, "whole_digits": 25},
    "day": {"kind": "date"},
    "at": {"kind": "timestamp"},
    "flag": {"kind": "boolean"},
    "mood": {"kind": "enumeration", "values": MOODS},
}
OPTIONAL = {f"{name}_or_none": field | {"required": False} for name, field in REQUIRED.items() if name != "id"}

type Sent = Mapping[str, str]
"""A row as text."""

type Values = tuple[Any, ...]
"""A row in a store."""

USUAL = {
    "person": "Ada",
    "order": "tea",
    "count": "1",
    "amount": "1.50",
    "units": "1",
    "price": "1.2345",
    "tenths": "1.5",
    "thousandths": "1.125",
    "exact": "1.000000001",
    "degrees": "1",
    "day": "2024-02-29",
    "at": "2024-02-29T12:00:00Z",
    "flag": "true",
    "mood": "a|b",
}
LEAST = {
    "person": 'Ann "the\nhammer"',
    "order": "first\r\nsecond, 'third' \\N \\t\t|",
    "count": "-9223372036854775808",
    "amount": "0",
    "units": "0",
    "price": "0.0001",
    "tenths": "-0.1",
    "thousandths": "-999999.999",
    "exact": "-9999999999999999999999999.999999999",
    "degrees": "-9999999999999999999999999",
    "day": "1970-01-01",
    "at": "1970-01-01T05:30:00.000001+05:30",
    "flag": "No",
    "mood": "\\N",
}
LARGEST = {
    "person": "😀\u200d👩 حلال",
    "order": '"quoted"',
    "count": "9223372036854775807",
    "amount": "99999999999999.99",
    "units": "99999999999999",
    "price": "99999999999999.9999",
    "tenths": "99999999999999999999.9",
    "thousandths": "999999.999",
    "exact": "9999999999999999999999999.999999999",
    "degrees": "+9999999999999999999999999",
    "day": "2024-12-31",
    "at": "2024-12-31 23:59:59.000001-00:00",
    "flag": "1",
    "mood": 'say "hi"',
}
SMALL = USUAL | {
    "tenths": "-0",
    "thousandths": "0.100",
    "exact": "-0.000000001",
    "at": "2024-03-01T00:30:00.1+14:00",
    "flag": "FALSE",
    "mood": "😀 ok",
    "order": "NULL",
}


def make_rows() -> list[Sent]:
    """Return rows at the limits of every kind, each with and without its optional values, and each odd text once."""
    full = [USUAL, LEAST, LARGEST, SMALL, *({**USUAL, "mood": mood} for mood in MOODS)]
    rows = [row | {f"{name}_or_none": value for name, value in row.items()} for row in full]
    return [{"id": f"{number}/é", **row} for number, row in enumerate([*rows, *full])]


def make_csv(columns: list[str], rows: Sequence[Sent]) -> bytes:
    """Return a file of `rows`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def value_of(text: str | None, kind: str) -> Any:
    """Return the value that `text` stands for, without the help of the platform."""
    if not text:
        return None
    if kind in ("money", "decimal"):
        return Decimal(text)
    if kind == "timestamp":
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    if kind == "boolean":
        return text.lower() in ("true", "yes", "1")
    read: dict[str, Callable[[str], Any]] = {"whole": int, "date": dt.date.fromisoformat}
    return read.get(kind, str)(text)


@dataclass
class Everything:
    """The feed `everything` of a deployment."""

    deployment: Deployment
    fields: Mapping[str, Mapping[str, Any]]

    @property
    def feed(self) -> Feed:
        return self.deployment.feed("everything")

    @property
    def columns(self) -> list[str]:
        return list(self.fields)

    @property
    def postgres(self) -> str:
        return f"{self.deployment.config.data_warehouse.postgres.schema_}.everything"

    @property
    def bigquery(self) -> str:
        return f"`{self.deployment.bq_table.rpartition('.')[0]}.raw_everything`"

    def expected(self, rows: list[Sent]) -> list[Values]:
        """Return what a store must hold of `rows`, in order of the id."""
        kinds = {name: field["kind"] for name, field in self.fields.items()}
        found = []
        for row in rows:
            values = {name: value_of(row.get(name), kind) for name, kind in kinds.items()}
            for name, field in self.fields.items():
                if field.get("pii") and values[name] is not None:
                    values[name] = hashlib.sha256(values[name].encode()).hexdigest()
            found.append(tuple(values.values()))
        return sorted(found, key=lambda row: row[0])

    def held(self, name: str) -> dict[str, list[Values]]:
        """Return what each store holds of the file `name`, read with its own client."""
        names = ", ".join(f'"{column}"' for column in self.columns)
        where = f"WHERE source_file = '{name}'"
        rows = self.deployment.pg.execute(f"SELECT {names} FROM {self.postgres} {where}").fetchall()
        quoted = names.replace('"', "`")
        result = self.deployment.bq.query(f"SELECT {quoted} FROM {self.bigquery} {where}").result()
        return {
            "postgres": sorted(tuple(_in_utc(value) for value in row) for row in rows),
            "bigquery": sorted(tuple(row.values()) for row in result),
            "gcs": sorted(self._in_lake(name), key=lambda row: row[0]),
        }

    def _in_lake(self, name: str) -> Iterator[Values]:
        folder = f"{self.feed.path}/{name.removesuffix('.csv')}"
        data = self.deployment.bucket.blob(f"{folder}/processed.{self.feed.lake_format}").download_as_bytes()
        if self.feed.lake_format == "parquet":
            yield from (tuple(row.values()) for row in pq.read_table(io.BytesIO(data)).to_pylist())
            return
        for row in csv.DictReader(io.StringIO(data.decode(), newline="")):
            assert list(row) == self.columns
            yield tuple(value_of(row[name], field["kind"]) for name, field in self.fields.items())


def _in_utc(value: Any) -> Any:
    return value.astimezone(dt.UTC) if isinstance(value, dt.datetime) else value


def make_everything(
    deployment: Deployment, *, partition_key: str | None, partition_by: str, lake_format: str
) -> Everything:
    """Configure the feed `everything`."""
    fields = {name: dict(field) for name, field in (REQUIRED | OPTIONAL).items()}
    if partition_key:
        fields[partition_key]["partition_key"] = True
    deployment.configure(
        {
            "data_warehouse": {"partition_by": partition_by},
            "feeds": {"everything": {"fields": fields, "lake_format": lake_format}},
        }
    )
    return Everything(deployment, fields)


@pytest.mark.parametrize(
    ("partition_key", "partition_by", "lake_format"),
    [
        ("day", "day", "csv"),
        ("at_or_none", "month", "parquet"),
        (None, "month", "csv"),
    ],
)
def test_each_value_is_in_each_store(
    deployment: Deployment, partition_key: str | None, partition_by: str, lake_format: str
) -> None:
    """Each store gives back the value of every cell, whatever partitions the table and whatever form the lake has."""
    everything = make_everything(
        deployment, partition_key=partition_key, partition_by=partition_by, lake_format=lake_format
    )
    assert {field["kind"] for field in everything.fields.values()} == set(KINDS)
    rows = make_rows()
    deployment.land("a.csv", make_csv(everything.columns, rows), feed="everything")

    result = deployment.materialize("a.csv", feed="everything")

    assert not failed_checks(result)
    expected = everything.expected(rows)
    for store, found in everything.held("a.csv").items():
        assert len(found) == len(expected), store
        for want, got in zip(expected, found, strict=True):
            wrong = [
                (store, column, value, sent)
                for column, value, sent in zip(everything.columns, got, want, strict=True)
                if (type(value), value) != (type(sent), sent)
            ]
            assert not wrong


ZERO = {"date": "1970-01-01", "timestamp": "1970-01-01 00:00:00+00", "boolean": "false"}
"""The value that is easily taken for a missing one, by kind; 0 for numbers and the empty string for text."""
NUMBERS = ("whole", "money", "decimal")


@dataclass
class Table:
    """A table of the feed, as somebody who edits it sees it."""

    everything: Everything
    key: str

    @property
    def name(self) -> str:
        return self.everything.postgres if self.key == "postgres" else self.everything.bigquery

    @property
    def dialect(self) -> Dialect:
        return POSTGRES if self.key == "postgres" else BIGQUERY

    def run(self, statement: str) -> list[Values]:
        """Run a statement in the engine."""
        if self.key == "postgres":
            cursor = self.everything.deployment.pg.execute(statement)
            return cursor.fetchall() if cursor.description else []
        return [tuple(row.values()) for row in self.everything.deployment.bq.query(statement).result()]

    def quoted(self, column: str) -> str:
        return self.dialect.column.format(column)

    def edits(self, last_row: int) -> Iterator[tuple[str, str, str]]:
        """Yield what is edited, its column, and the new value as SQL.

        Two values of a column are swapped, so that counts, sums, and first and last days stay the same, or the value
        that the last row lacks becomes a zero or an empty text.
        """
        for name, kind in self.everything.feed.contract.table_columns.items():
            if name == "source_file":
                continue
            value = self.quoted(name)
            if name.endswith("_or_none"):
                zero = "0" if kind.name in NUMBERS else ZERO.get(kind.name, "")
                cast = f"CAST('{zero}' AS {getattr(kind, self.key)})"
                yield f"{name} no longer missing", name, f"CASE source_row WHEN {last_row} THEN {cast} ELSE {value} END"
            else:
                first, second = (f"(SELECT {value} FROM {self.name} WHERE source_row = {row})" for row in (1, 2))
                swapped = f"CASE source_row WHEN 1 THEN {second} WHEN 2 THEN {first} ELSE {value} END"
                yield f"{name} swapped", name, swapped

    def fingerprints(self, last_row: int) -> dict[str, int]:
        """Return the fingerprint of the table, and what it would be after each of the edits."""
        contract = self.everything.feed.contract
        fingerprint = select_fingerprint(self.dialect, contract)
        parts = [f"SELECT 'as loaded' AS edit, {fingerprint} AS fingerprint FROM {self.name}"]
        for what, column, value in self.edits(last_row):
            columns = (f"{value} AS {self.quoted(name)}" if name == column else self.quoted(name)
                       for name in contract.table_columns)  # fmt: skip
            edited = f"(SELECT {', '.join(columns)} FROM {self.name}) AS edited"
            parts.append(f"SELECT '{what}' AS edit, {fingerprint} AS fingerprint FROM {edited}")
        return dict(self.run(" UNION ALL ".join(parts)))


def read_hashed(everything: Everything, run_id: str) -> HashedFiles:
    """Return the value of the hashed asset of a run."""
    blob = everything.deployment.bucket.blob(f"{everything.feed.staging}/{run_id}/everything__hashed_everything.json")
    value = from_json(blob.download_as_bytes())
    assert isinstance(value, HashedFiles)
    return value


def test_each_edited_cell_is_seen(deployment: Deployment) -> None:
    """Two swapped values of any column change the fingerprint, as does a missing value that becomes a zero.

    The check of the store turns red.
    """
    everything = make_everything(deployment, partition_key="at_or_none", partition_by="month", lake_format="csv")
    rows = make_rows()
    deployment.land("a.csv", make_csv(everything.columns, rows), feed="everything")
    hashed = read_hashed(everything, deployment.materialize("a.csv", feed="everything").run_id)

    for key in ("bigquery", "postgres"):
        found = Table(everything, key).fingerprints(len(rows))
        assert len(found) == 1 + 1 + len(REQUIRED) + len(OPTIONAL)
        assert not [what for what, number in found.items() if number == found["as loaded"] and what != "as loaded"]
        assert len(set(found.values())) == len(found)

    with open_services(deployment.config) as opened:
        services = opened.of(everything.feed)

        def red() -> set[str]:
            return {entry.key for entry in STORES if not reconcile(entry, services, hashed, "another run").passed}

        assert not red()
        for key in ("bigquery", "postgres"):
            table = Table(everything, key)
            table.run(f"UPDATE {table.name} SET flag_or_none = FALSE WHERE source_row = {len(rows)}")
        assert red() == {"bigquery", "postgres"}


@pytest.mark.parametrize("lake_format", ["csv", "parquet"])
def test_each_edited_cell_of_the_lake_is_seen(deployment: Deployment, lake_format: str) -> None:
    """The check of the lake finds two swapped values of any column."""
    everything = make_everything(deployment, partition_key="at", partition_by="month", lake_format=lake_format)
    rows = make_rows()
    deployment.land("a.csv", make_csv(everything.columns, rows), feed="everything")
    hashed = read_hashed(
        everything, deployment.materialize("a.csv", feed="everything", select="*everything/gcs_raw").run_id
    )
    blob = deployment.bucket.get_blob(f"{everything.feed.path}/a/processed.{lake_format}")
    content, metadata = blob.download_as_bytes(), blob.metadata
    (entry,) = (entry for entry in STORES if entry.key == "gcs")
    unseen = []
    with open_services(deployment.config) as opened:
        services = opened.of(everything.feed)
        assert reconcile(entry, services, hashed, "another run").passed
        for column in everything.columns:
            edited = deployment.bucket.blob(blob.name)
            edited.metadata = metadata
            edited.upload_from_string(_swapped(content, column, lake_format))
            if reconcile(entry, services, hashed, "another run").passed:
                unseen.append(column)
    assert not unseen


def _swapped(content: bytes, column: str, lake_format: str) -> bytes:
    """Return an object of the lake with the values of a column in its first two rows swapped."""
    if lake_format == "csv":
        lines = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        lines[0][column], lines[1][column] = lines[1][column], lines[0][column]
        return make_csv(list(lines[0]), lines)
    table = pq.read_table(io.BytesIO(content))
    values = table[column].to_pylist()
    values[0], values[1] = values[1], values[0]
    place = table.schema.get_field_index(column)
    sink = io.BytesIO()
    pq.write_table(table.set_column(place, column, pa.array(values, table.schema.field(place).type)), sink)
    return sink.getvalue()
