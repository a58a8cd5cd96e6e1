"""A running stack from the outside: ports, files, environment, landed files."""

import gzip
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.storage import Blob, Bucket, Client

from txn_assets.environment import project_root
from txn_assets.local.endpoints import Seed
from txn_assets.local.home import Home
from txn_assets.local.stack import ensure_up
from txn_assets_tests.local.conftest import Stack, processes_of


def test_only_loopback_ports_are_open(stack: Stack) -> None:
    """No other machine can reach a server, gRPC included."""
    listening = [
        connection.laddr.ip
        for process in processes_of(stack.home)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 5
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_nothing_is_written_outside_the_home(stack: Stack) -> None:
    """Working directories, and files that servers hold open for writing or share as memory, are below the home."""
    inside = str(stack.home)
    for process in processes_of(stack.home):
        assert process.cwd().startswith(inside)
        written = [file.path for file in process.open_files() if file.mode != "r"]
        mapped = [region.path for region in process.memory_maps() if region.path.startswith(("/dev/shm", "/tmp"))]  # noqa: S108 - a comparison
        # The programs themselves are mapped too, wherever the project is.
        shared = [path for path in mapped if not path.startswith(str(project_root()))]
        assert [path for path in written + shared if not path.startswith(inside)] == []


def test_secrets_are_readable_only_by_their_owner(stack: Stack) -> None:
    """The servers' folder and the state file, which hold the password, are closed to others."""
    assert Home(stack.home).state.stat().st_mode & 0o777 == 0o600
    assert Home(stack.home).stack.stat().st_mode & 0o777 == 0o700


def test_servers_get_nothing_from_the_callers_environment(home: Path, seed: Seed) -> None:
    """A secret in the starter's environment is in none of the stack's processes."""
    environment = os.environ | {"TXN_HOME": str(home), "TXN_HASH_KEY": "do-not-pass-me-on" * 2, "DATA_DIR": "/nowhere"}
    subprocess.run(
        [sys.executable, "-m", "txn_assets.local", "up"], env=environment, check=True, stdout=subprocess.PIPE
    )
    for process in processes_of(home):
        assert "do-not-pass-me-on" not in str(process.environ())


def test_exported_environment_serves_psql_and_both_clients(stack: Stack) -> None:
    """After `eval "$(python -m txn_assets.local env)"` the tools need no arguments."""
    clients = (
        "from google.cloud import bigquery, storage\n"
        "print([bucket.name for bucket in storage.Client().list_buckets()])\n"
        "print(list(bigquery.Client().query('SELECT 41 + 1 AS x').result())[0].x)\n"
    )
    (psql,) = Home(stack.home).postgres.glob("*/bin/psql")
    script = f"""
        set -eu
        eval "$('{sys.executable}' -m txn_assets.local env)"
        '{psql}' "$TXN_PG_DSN" --no-psqlrc --tuples-only --command 'SELECT 20 + 3'
        '{psql}' --no-psqlrc --tuples-only --command 'SELECT 30 + 4'
        '{sys.executable}' -c "$CLIENTS"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"TXN_HOME": str(stack.home), "CLIENTS": clients},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"23", "34", "42"} <= {line.strip() for line in done.stdout.splitlines()}
    assert "some-bucket" in done.stdout


def test_importing_the_package_imports_no_client() -> None:
    """Entry points that find the stack running do not import Google's clients or psycopg."""
    code = "import sys, txn_assets.local.stack; print({'google.cloud', 'psycopg', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_load_job_reads_parquet_from_the_bucket(stack: Stack) -> None:
    """BigQuery reads from our GCS: a gs:// URI, even with blanks and Unicode, loads what was uploaded."""
    rows = 10_000
    parquet = io.BytesIO()
    pq.write_table(pa.table({"id": range(rows), "price": pa.array([Decimal("0.1000")] * rows)}), parquet)
    _bucket(stack, stack.seed).blob("staging/é 1.parquet").upload_from_string(parquet.getvalue())
    client = bigquery.Client(
        project=stack.seed.project_id,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # google-auth is untyped here
        client_options={"api_endpoint": stack.endpoints.bigquery_url},
    )
    job = client.load_table_from_uri(
        f"gs://{stack.seed.bucket}/staging/é 1.parquet",
        f"{stack.seed.dataset}.loaded",
        job_config=bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET),
    )
    job.result()
    (row,) = client.query(f"SELECT COUNT(*) AS n, SUM(price) AS total FROM {stack.seed.dataset}.loaded").result()
    assert (row.n, row.total) == (rows, 1000)


def test_csv_files_of_the_data_folder_are_landed(stack: Stack, another_seed: Seed) -> None:
    """Plain and gzipped CSV files are below the landing prefix under their names, and other files are not."""
    shutil.copy(project_root() / "data" / "transactions.csv", another_seed.data)
    (another_seed.data / "b.csv.gz").write_bytes(gzip.compress(b"b"))
    (another_seed.data / "notes.txt").write_text("no")
    assert _landed(stack, another_seed) == {
        "landing/transactions/transactions.csv": (another_seed.data / "transactions.csv").read_bytes(),
        "landing/transactions/b.csv.gz": (another_seed.data / "b.csv.gz").read_bytes(),
    }


def test_only_changed_files_are_landed_again(stack: Stack, another_seed: Seed) -> None:
    """A file that was edited in the data folder becomes a new generation; the others keep theirs."""
    (another_seed.data / "a.csv").write_text("old")
    (another_seed.data / "b.csv").write_text("same")
    _landed(stack, another_seed)
    before = _generations(stack, another_seed)
    (another_seed.data / "a.csv").write_text("newer")
    assert _landed(stack, another_seed)["landing/transactions/a.csv"] == b"newer"
    changed = dict(_generations(stack, another_seed) - before)
    assert list(changed) == ["landing/transactions/a.csv"]


def test_file_that_somebody_else_landed_is_left_alone(stack: Stack, another_seed: Seed) -> None:
    """A correction uploaded under the name of a file in the data folder is not overwritten."""
    (another_seed.data / "a.csv").write_text("first")
    _landed(stack, another_seed)
    _bucket(stack, another_seed).blob("landing/transactions/a.csv").upload_from_string("corrected")
    (another_seed.data / "b.csv").write_text("makes the seed look new")
    assert _landed(stack, another_seed)["landing/transactions/a.csv"] == b"corrected"


def _bucket(stack: Stack, seed: Seed) -> Bucket:
    client = Client(
        project=seed.project_id,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # google-auth is untyped here
        client_options={"api_endpoint": stack.endpoints.gcs_url},
    )
    return client.bucket(seed.bucket)


def _landed(stack: Stack, seed: Seed) -> dict[str, bytes]:
    ensure_up(stack.home, seed)
    blobs: Iterable[Blob] = _bucket(stack, seed).list_blobs()
    return {blob.name: blob.download_as_bytes() for blob in blobs}


def _generations(stack: Stack, seed: Seed) -> set[tuple[str, int]]:
    return {(blob.name, blob.generation) for blob in _bucket(stack, seed).list_blobs()}
