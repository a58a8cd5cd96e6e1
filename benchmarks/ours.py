"""The platform's own processing and sinks, called in isolation the way a run calls them.

Only the setup that a run would have done. To time a whole run, call `python -m txn_assets.run` instead.
"""

import datetime as dt
import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import pandas as pd  # noqa: F401 - Arrow imports it for its first array, which would otherwise be timed

from benchmarks.child import Timer
from benchmarks.peers.promise import Promise
from benchmarks.stores import Opened, Totals, parquet_totals
from txn_assets.config import load_config
from txn_assets.defs.services import open_services
from txn_assets.feeds.configured import feeds_of
from txn_assets.files.ledger import Action, FileVersion
from txn_assets.files.run_folder import RunFolder
from txn_assets.files.values import HashedFile
from txn_assets.rows import hashed_rows, processing
from txn_assets.rows.hashing import make_hasher
from txn_assets.rows.reader.file_format import FileFormat

NAME = "bench.csv"

PROMISE = Promise(
    "**this project**",
    bad_rows="kept, with reasons",
    ids="SHA-256, or HMAC with a key",
    crash="the earlier rows, in each store",
    repeat="the same rows",
    race="the same rows",
    proof="every column of every row",
)


def validate_and_hash(
    timer: Timer, *, path: str, folder: str, file_format: dict[str, str] | None = None, key: str | None = None
) -> Totals:
    """Turn the CSV file, in `file_format` or the default form, into hashed.parquet and rejected.csv in `folder`.

    Hash with `key`, or plainly.
    """
    feed = feeds_of(load_config())[0]
    hasher = make_hasher(
        feed.pii_fields, algorithm="hmac-sha256" if key else "sha256", key_id="k1" if key else "none", key=key
    )
    feed = replace(feed, file_format=FileFormat.model_validate(file_format or {}))
    reading = feed.reading(dt.datetime.now(dt.UTC).date())
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    files = RunFolder(Path(folder))
    with timer(), Path(path).open("rb") as stream:
        report = processing.validate_file(stream, files, reading=reading, hasher=hasher)
        version, names = FileVersion(NAME, 1, 0, ""), feed.contract.names
        processing.hash_file(files.valid, files.hashed, file=version, names=names, hasher=hasher)
    return [*parquet_totals(files.hashed), report.rejected]


def sink(  # noqa: PLR0913 - what a load is
    timer: Timer, *, config: str, kind: str, parquet: str, generation: int = 1, source_file: str = NAME
) -> str:
    """Load the hashed rows in `parquet` into a store (postgres, bigquery or gcs); return the sink's result."""
    os.environ["TXN_CONFIG"] = config
    opened = Opened()
    settings = opened.config
    totals, lake_fingerprint = hashed_rows.totals(Path(parquet), feeds_of(settings)[0].contract)
    file = HashedFile(
        # Use a new checksum for each generation, because a sink skips bytes that it already holds.
        version=FileVersion(source_file, generation, 1, f"crc{generation}"),
        rules_id="rules",
        key_id="sha256",
        totals=totals,
        lake_fingerprint=lake_fingerprint,
        malformed_digests=0,
        uri=f"gs://{settings.data_lake.gcs_bucket}/staging/bench.parquet",
    )
    blob = opened.bucket.blob("staging/bench.parquet")
    if kind == "bigquery" and not blob.exists():
        blob.upload_from_filename(parquet)
    with open_services(settings) as opened_services:
        services = opened_services.of(feeds_of(settings)[0])
        store = services.stores[kind]
        # Staging would leave this file behind: the landed file is already on this machine.
        os.link(parquet, services.run_files.folder(file.version).hashed)
        if kind == "bigquery":
            # The tables are there, as they are for the bare clients.
            store.load([], "tables")
        # Use a fresh run id, as Dagster does: BigQuery jobs are named after it, and a job whose name exists is joined.
        with timer():
            action = store.load([file], str(uuid.uuid4()))[source_file]
        held = store.holdings([file], "another run")[source_file].totals
        expected = store.as_held(file, inexact=()).totals
    if action is not Action.LOAD or held != expected:
        message = f"{kind}: {action}, and it holds {held}, not {expected}"
        raise RuntimeError(message)
    return str(action.value)


def land(_: Timer, *, config: str, path: str) -> None:
    """Upload the file to the landing zone, before a timed run."""
    os.environ["TXN_CONFIG"] = config
    opened = Opened()
    opened.bucket.blob(f"{opened.config.data_lake.landing}/{Path(path).name}").upload_from_filename(path)
