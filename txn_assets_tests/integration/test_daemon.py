"""End to end: `make dev` loads what is dropped into the bucket, tells what fails, and leaves nothing behind."""

import socket
import subprocess
import sys
import uuid
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from txn_assets.environment import txn_home
from txn_assets.local import ports
from txn_assets_tests.daemon import dagster_dev
from txn_assets_tests.deployment import Deployment, make_file, many_rows
from txn_assets_tests.exporter import Exporter, exporting
from txn_assets_tests.receiver import Receiver, receiving

SECONDS = 150.0
"""Timeout for startup, a tick every 30 s, a queue polled every 5 s, and a run: twice what an idle machine needs."""


def test_dropped_and_overwritten_file(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file dropped into the bucket reaches the stores and marts on its own, and so does the version overwriting it.

    The check that files land fails until enough have. A file that fails is told once, and so is its recovery; the
    metrics count them. A second `make dev` is refused; SIGTERM ends the first and leaves no process behind.
    """
    # The daemon of another test may have requested the marts of the same instance.
    deployment.configure({"orchestration": {"mart_minutes": 1, "expected": {"every": "1d", "min_files": 4}}})
    # The instance may know failures of other tests.
    bad = f"{uuid.uuid4().hex}.csv"
    with receiving() as receiver, monkeypatch.context() as patch:
        patch.setenv("TXN_ALERT_WEBHOOK", receiver.url)
        _load_two_files(deployment, tmp_path, bad, receiver)


def _load_two_files(deployment: Deployment, tmp_path: Path, bad: str, receiver: Receiver) -> None:
    deployment.land(bad, b"no,header\n")
    with dagster_dev(tmp_path) as daemon:
        deployment.land("a.csv", make_file(*many_rows(3)))
        daemon.wait_until(lambda: _prices(deployment) == ["1.5000"] * 3, seconds=SECONDS)
        daemon.wait_until(lambda: len(_told(receiver, bad)) == 1, seconds=SECONDS)

        # One file is transactions.csv, which lands when the stack starts.
        assert _file_expected() == (False, 3)

        deployment.land("b.csv", make_file(*many_rows(1)))
        deployment.land("a.csv", make_file(*many_rows(2, price="2.50")))
        deployment.land(bad, make_file(*many_rows(1)))
        daemon.wait_until(lambda: _prices(deployment) == ["2.5000"] * 2, seconds=SECONDS)
        assert _file_expected() == (True, 4)
        daemon.wait_until(lambda: _has_marts(deployment), seconds=SECONDS)
        daemon.wait_until(lambda: len(_told(receiver, bad)) == 2, seconds=SECONDS)
        failed, recovered = _told(receiver, bad)
        assert f"1 file failed at step raw_csv: {bad} (run " in failed
        assert f"1 file recovered: {bad}" in recovered
        told = "\n".join(receiver.texts)
        assert "- failed check landing_zone: file_expected" in told
        assert "- check landing_zone: file_expected recovered" in told
        with exporting(tmp_path / "metrics.log", {}) as exporter:
            _check_metrics(exporter)

        second = _dev(ports.choose(("webserver",), {})["webserver"])
        daemon.terminate(seconds=SECONDS)

        assert daemon.members() == []
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert second.stderr.startswith("Another `txn dev` or `make dev` is running for ")


def _told(receiver: Receiver, name: str) -> list[str]:
    return [text for text in receiver.texts if name in text]


def _check_metrics(exporter: Exporter) -> None:
    scrape = exporter.scrape()
    assert [scrape.value("txn_up", source=source) for source in ("ledgers", "dagster")] == [1, 1]
    # The sample file has landed too, and one of its rows is rejected.
    assert scrape.value("txn_files", feed="transactions", verdict="loaded") == 3
    assert scrape.value("txn_files", feed="transactions", verdict="partly") == 1
    for store in ("GCS", "BigQuery", "PostgreSQL"):
        # Other tests may have loaded files with the same instance.
        assert (scrape.value("txn_store_files", feed="transactions", store=store, state="loaded") or 0) >= 3
        assert scrape.value("txn_store_success_timestamp_seconds", feed="transactions", store=store)
    assert scrape.value("txn_runs", state="failed")
    assert scrape.value("txn_mart_timestamp_seconds", mart="sales_by_product")


def test_port() -> None:
    """A port that is taken or invalid is refused in one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _dev(port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Port {port} of 127.0.0.1 cannot be used (Address already in use)")
    assert done.stderr.count("\n") == 1

    done = _dev("3000x")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("'3000x' is not a port number")


def _dev(port: int | str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "txn_assets.defs.dev", str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _file_expected() -> tuple[bool, object]:
    """Return whether the last evaluation of the check passed, and the number of files that it counted."""
    with dg.DagsterInstance.from_config(str(txn_home() / "dagster")) as instance:
        key = dg.AssetCheckKey(dg.AssetKey("landing_zone"), "file_expected")
        record = instance.get_latest_asset_check_evaluation_record(key)
    assert record
    assert record.evaluation
    return record.evaluation.passed, record.evaluation.metadata["files"].value


def _prices(deployment: Deployment) -> list[str]:
    try:
        return [str(price) for _, _, price, _, _ in deployment.rows("postgres_transactions", "a.csv")]
    except psycopg.errors.UndefinedTable:
        # The first load creates it.
        return []


def _has_marts(deployment: Deployment) -> bool:
    try:
        (count,) = deployment.pg.execute(f"SELECT count(*) FROM {deployment.config.data_mart.dataset}.sales_by_date")
    except psycopg.errors.UndefinedTable:
        # The first refresh creates it.
        return False
    return bool(count[0])
