"""A file in two contents, the stores that load it, and the count of rows that a store lost or duplicated.

Shared by kills, wire faults and races; the faults themselves are in other modules. See docs/reliability.md.
"""

import datetime as dt
import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any

from google.cloud import bigquery

from txn_assets.config import PipelineConfig
from txn_assets.defs.names import asset_key
from txn_assets.defs.services import open_services
from txn_assets.feeds.configured import feeds_of, find_feed
from txn_assets.feeds.feed import FIRST_FEED
from txn_assets.files.ledger import Action
from txn_assets.files.values import HashedFile, HashedFiles, from_json
from txn_assets.stores.registry import STORES
from txn_assets.stores.store import Store
from txn_assets_tests.deployment import Deployment, Row, make_file, make_row

KEYS = {entry.asset_name.format(feed=FIRST_FEED): entry.key for entry in STORES}
"""The key of each asset's store."""


@dataclass(frozen=True)
class Content:
    """A staged file of a feed and the rows that a store must hold of it, computed independently of the platform."""

    file: HashedFile
    rows: Counter[Row] = field(repr=False)
    feed: str = FIRST_FEED

    def at(self, generation: int) -> "Content":
        """Return the same content, landed as another generation."""
        return replace(self, file=replace(self.file, version=replace(self.file.version, generation=generation)))


@dataclass(frozen=True)
class Difference:
    """How many rows a store lacks, and how many it holds that are wrong or duplicated."""

    lost: int
    twice: int

    @classmethod
    def between(cls, held: Counter[Row], expected: Counter[Row]) -> "Difference":
        """Return the difference between `held` and `expected`."""
        return cls((expected - held).total(), (held - expected).total())

    @property
    def size(self) -> int:
        """Return the total number of differing rows."""
        return self.lost + self.twice


@dataclass
class Tally:
    """A row of the table: the outcome of the attempts with one fault in one store."""

    store: str
    fault: str
    tries: int = 0
    survived: int = 0
    lost: int = 0
    twice: int = 0
    hung: int = 0
    slowest: float = 0.0
    notes: tuple[str, ...] = ()

    def add(
        self, found: Difference, left: Iterable[str], note: str = "", *, seconds: float = 0.0, hung: bool = False
    ) -> None:
        """Count an attempt; it survived if it ended, nothing differs and nothing was left behind."""
        sentences = [text for text in (note, *left) if text]
        self.tries += 1
        self.survived += not (found.size or sentences or hung)
        self.hung += hung
        self.lost += found.lost
        self.twice += found.twice
        self.slowest = max(self.slowest, seconds)
        self.notes += tuple(sentences)


@contextmanager
def open_stores(config: PipelineConfig, *, feed: str = FIRST_FEED, **overrides: Any) -> Iterator[dict[str, Store]]:
    """Yield the stores as a run of `feed` has them, by asset of the first feed; `overrides` replaces attributes."""
    of = find_feed(config, feed)
    with open_services(config) as services:
        yield {asset: replace(services.of(of).stores[key], **overrides) for asset, key in KEYS.items()}


def turn_into[StoreT: Store](kind: type[StoreT], store: Store) -> StoreT:
    """Return `store` as an instance of its subclass `kind`."""
    return kind(**{one.name: getattr(store, one.name) for one in fields(store) if one.init})


def make_load(store: Store, content: Content, run_id: str = "run") -> Action:
    """Load `content` the way `handle_output` does."""
    actions = store.retry_transient(lambda: store.load([content.file], run_id))
    return actions[content.file.version.name]


def stage(  # noqa: PLR0913 - each is a property of the file
    deployment: Deployment, name: str, rows: int, *, seed: int, feed: str = FIRST_FEED, rejected: int = 0
) -> Content:
    """Land a file of `rows` valid rows and `rejected` others, and run everything upstream of the sinks."""
    data, expected = _MADE[feed](random.Random(seed), rows, seed)
    data += b"x,,,,\n" * rejected
    deployment.land(name, data, feed=feed)
    of = deployment.feed(feed)
    asset = asset_key(of, f"hashed_{feed}")
    result = deployment.materialize(name, feed=feed, select=f'+key:"{asset.to_user_string()}"')
    manifest = f"{of.staging}/{result.run_id}/{asset.to_python_identifier()}.json"
    staged = from_json(deployment.bucket.blob(manifest).download_as_bytes())
    assert isinstance(staged, HashedFiles)
    return Content(staged.files[0], expected, feed)


def _make_transactions(draw: random.Random, rows: int, seed: int) -> tuple[bytes, Counter[Row]]:
    """Return a file, and the rows that a store must hold of it."""
    records = [
        (f"T{n}", f"Halal {draw.randint(1, 99)}", str(Decimal(draw.randint(1, 10**6)) / 100), draw.randint(1, 9))
        for n in range(rows)
    ]
    day = f"2023-10-{1 + seed % 28:02d}"
    lines = [
        make_row(transaction_id=id_, product=product, price=price, quantity=str(quantity), date=day)
        for id_, product, price, quantity in records
    ]
    expected = Counter(
        (digest(id_), product, Decimal(price), quantity, day) for id_, product, price, quantity in records
    )
    return make_file(*lines), expected


def _make_refunds(draw: random.Random, rows: int, seed: int) -> tuple[bytes, Counter[Row]]:
    """Return the same for refunds."""
    lines, expected = [], Counter[Row]()
    for number in range(rows):
        ids = f"R{number}", f"T{draw.randint(1, 99)}"
        reason = draw.choice(("damaged", "late", "not_as_described", "other"))
        amount = str(Decimal(draw.randint(1, 10**6)) / 100)
        at = dt.datetime(2023, 10, 1 + seed % 28, 12, tzinfo=dt.UTC) + dt.timedelta(
            microseconds=draw.randint(0, 10**10)
        )
        partial = draw.choice((True, False, None))
        text = "" if partial is None else str(partial).lower()
        lines.append(",".join((*ids, reason, amount, at.isoformat(), text)))
        expected[*map(digest, ids), reason, Decimal(amount), at, partial] += 1
    return make_file(*lines, header="refund_id,transaction_id,reason,amount,refunded_at,partial"), expected


_MADE = {FIRST_FEED: _make_transactions, "refunds": _make_refunds}


def digest(text: str) -> str:
    """Return what the stores have of an id."""
    return hashlib.sha256(text.encode()).hexdigest()


def difference(deployment: Deployment, store: str, *allowed: Content) -> Difference:
    """Return the difference between what `store` holds and the nearest allowed content; without any, no rows."""
    name = allowed[0].file.version.name
    held = Counter(deployment.rows(store, name, feed=allowed[0].feed))
    return min((Difference.between(held, content.rows) for content in allowed), key=lambda found: found.size)


def leftovers(deployment: Deployment, store: str, content: Content) -> list[str]:
    """Return what a load left behind, in sentences, and what is wrong in the ledger."""
    reader = {"gcs_raw": _gcs_leftovers, "bigquery_raw_transactions": _bq_leftovers}.get(store, _pg_leftovers)
    return list(reader(deployment, content))


def _gcs_leftovers(deployment: Deployment, content: Content) -> Iterator[str]:
    folder = f"{deployment.feed(content.feed).path}/{content.file.version.name.removesuffix('.csv')}/"
    blobs = list(deployment.gcs.list_blobs(deployment.bucket, prefix=folder))
    if [blob.name for blob in blobs] != [f"{folder}processed.csv"]:
        yield f"objects {[blob.name for blob in blobs]}"
    elif blobs[0].metadata["source_generation"] != str(content.file.version.generation):
        yield f"metadata of generation {blobs[0].metadata['source_generation']}"


def _bq_leftovers(deployment: Deployment, content: Content) -> Iterator[str]:
    data = deployment.bq_table_of(deployment.feed(content.feed))
    dataset = data.rpartition(".")[0]
    # The load table of a killed run expires.
    yield from (
        f"table {table.table_id}"
        for table in deployment.bq.list_tables(dataset)
        if table.table_id.startswith("_txn_staging_") and table.expires is None
    )
    query = f"SELECT generation, row_count FROM `{data}_loads` WHERE source_file = @name"
    parameters = [bigquery.ScalarQueryParameter("name", "STRING", content.file.version.name)]
    job = deployment.bq.query(query, job_config=bigquery.QueryJobConfig(query_parameters=parameters))
    yield from _ledger_leftovers([tuple(row.values()) for row in job.result()], content)
    if content.file.rejected:
        query = f"SELECT generation, source_row, field FROM `{data}_rejects` WHERE source_file = @name"
        job = deployment.bq.query(query, job_config=bigquery.QueryJobConfig(query_parameters=parameters))
        yield from _rejects_leftovers([tuple(row.values()) for row in job.result()], content)


def _pg_leftovers(deployment: Deployment, content: Content) -> Iterator[str]:
    data = deployment.pg_table_of(deployment.feed(content.feed))
    query = f"SELECT generation, row_count FROM {data}_loads WHERE source_file = %s"
    yield from _ledger_leftovers(deployment.pg.execute(query, [content.file.version.name]).fetchall(), content)
    query = f"SELECT generation, source_row, field FROM {data}_rejects WHERE source_file = %s"
    yield from _rejects_leftovers(deployment.pg.execute(query, [content.file.version.name]).fetchall(), content)
    schema = deployment.config.data_warehouse.postgres.schema_
    # Only runs of this deployment, because other tests share the server.
    held = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = "
        "hashtextextended(%s, 0)"
    )
    ((locks,),) = deployment.pg.execute(held, [f"{data}/{content.file.version.name}"]).fetchall()
    if locks:
        yield f"{locks} advisory locks"
    tables = deployment.pg.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
    feeds = [feed.postgres_table for feed in feeds_of(deployment.config)]
    ours = {f"{name}{suffix}" for name in feeds for suffix in ("", "_loads", "_rejects", "_erasures")}
    if unknown := {name for (name,) in tables} - ours:
        yield f"tables {unknown}"


def _rejects_leftovers(rows: list[tuple[Any, ...]], content: Content) -> Iterator[str]:
    """Yield what is wrong with the rejects: each reason of each record of the version is there once."""
    noted = Counter(row for row in rows if row[0] == content.file.version.generation)
    if noted.total() != len(noted):
        yield "rejects that are noted twice"
    if len({source_row for _, source_row, _ in noted}) != content.file.rejected:
        yield f"rejects of {len({row for _, row, _ in noted})} instead of {content.file.rejected} records"


def _ledger_leftovers(rows: list[tuple[Any, ...]], content: Content) -> Iterator[str]:
    newest = content.file.version.generation
    counts = Counter(generation for generation, _ in rows)
    if [generation for generation, count in counts.items() if count > 1]:
        yield "two ledger rows of one generation"
    if max(counts, default=0) != newest or (newest, content.file.totals.rows) not in rows:
        yield f"ledger ends with {sorted(rows)[-1:]} instead of generation {newest}"
