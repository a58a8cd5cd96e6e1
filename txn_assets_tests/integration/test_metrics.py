"""`txn metrics` against the real ledgers: what it says after loads, after a restart, and when a source is away.

`test_daemon.py` asks it beside a running Dagster.
"""

import threading

import pytest

from txn_assets.watch.exporter import Source
from txn_assets_tests.deployment import Deployment, make_row
from txn_assets_tests.exporter import Scrape, exporting

NO_DAGSTER = {"TXN_DAGSTER_URL": "http://127.0.0.1:9"}


def _scrape(deployment: Deployment, **environment: str) -> Scrape:
    log = deployment.config_path.with_name("metrics.log")
    with exporting(log, {"TXN_CONFIG": str(deployment.config_path), **NO_DAGSTER, **environment}) as exporter:
        return exporter.scrape()


def test_loads(deployment: Deployment) -> None:
    """The metrics count versions, files and rows as the ledger has them, the same after a restart."""
    before = _scrape(deployment)
    assert before.value("txn_loads_total", feed="transactions") == 0
    assert before.value("txn_last_load_timestamp_seconds", feed="transactions") is None

    deployment.load("a.csv", make_row(), make_row(transaction_id="T002"))
    deployment.load("b.csv", make_row(), make_row(price="x"))
    rejected = make_row(price="x"), make_row(price="y", quantity="z")
    deployment.load("b.csv", make_row(), make_row(transaction_id="T003"), *rejected)
    scrape = _scrape(deployment)

    sizes = sum(size for (size,) in deployment.pg.execute(f"SELECT size FROM {deployment.pg_table}_loads"))
    assert {
        "loads": scrape.value("txn_loads_total", feed="transactions"),
        "bytes": scrape.value("txn_load_bytes_total", feed="transactions"),
        "records": scrape.value("txn_load_records_total", feed="transactions"),
        "loaded": scrape.value("txn_files", feed="transactions", verdict="loaded"),
        "partly": scrape.value("txn_files", feed="transactions", verdict="partly"),
        "valid": scrape.value("txn_rows", feed="transactions", verdict="valid"),
        "rejected": scrape.value("txn_rows", feed="transactions", verdict="rejected"),
        "lag": scrape.value("txn_lag_seconds_gcount", feed="transactions"),
        "stages": [
            scrape.value("txn_stage_seconds_bucket", feed="transactions", stage=stage, le="+Inf")
            for stage in ("validate", "hash", "load")
        ],
    } == {
        "loads": 3,
        "bytes": sizes,
        "records": 8,
        "loaded": 1,
        "partly": 1,
        "valid": 4,
        "rejected": 2,
        "lag": 3,
        "stages": [3, 3, 3],
    }
    # What local-bigquery says that a query bills.
    assert (scrape.value("txn_billed_bytes", feed="transactions") or 0) >= 0
    assert [scrape.value("txn_up", source=source) for source in ("ledgers", "bigquery")] == [1, 1]
    assert scrape.value("txn_up", source="dagster") == 0

    # A ledger of an earlier release has neither the columns nor what they say.
    deployment.pg.execute(
        f"ALTER TABLE {deployment.pg_table}_loads DROP COLUMN rejected CASCADE, DROP COLUMN stage_seconds CASCADE, "
        "DROP COLUMN erased CASCADE"
    )
    older = _scrape(deployment)
    assert older.value("txn_loads_total", feed="transactions") == 3
    assert older.value("txn_rows", feed="transactions", verdict="rejected") == 0


def test_postgres_is_away(deployment: Deployment) -> None:
    """Without PostgreSQL the process starts and says so, and does not make up zeros."""
    deployment.configure({"data_warehouse": {"postgres": {"host": "127.0.0.1", "port": 9}}})
    scrape = _scrape(deployment, TXN_TARGET="gcp", TXN_PG_PASSWORD="secret")
    assert scrape.value("txn_up", source="ledgers") == 0
    assert "txn_loads_total" in scrape.names
    assert scrape.value("txn_loads_total", feed="transactions") is None
    assert "secret" not in deployment.config_path.with_name("metrics.log").read_text()


def test_port(deployment: Deployment, capfd: pytest.CaptureFixture[str]) -> None:
    """A port that is no number is refused in one sentence."""
    from txn_assets.cli import main

    assert main(["metrics", "9464x"]) == 1
    assert capfd.readouterr().err == (
        "'9464x' is not a port number from 1 to 65535: choose one, as in `txn metrics 9465`.\n"
    )


def test_scrapes_share_a_reading() -> None:
    """However many scrapes come, a source is read once per interval, and a slow one less often."""
    now, read = [0.0], []

    def reading() -> int:
        read.append(now[0])
        now[0] += 2.0
        return len(read)

    source = Source("slow", reading, clock=lambda: now[0])
    threads = [threading.Thread(target=lambda: source.begin().result()) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now[0] = 41.0
    assert source.begin().result() == 1
    now[0] = 42.0
    assert source.begin().result() == 2
    assert read == [0.0, 42.0]
    source.close()
