"""TXN_LOCAL_ENDPOINTS: local servers that someone else runs, as in a cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from txn_assets.config import load_config
from txn_assets.environment import ConfigError, local_endpoints
from txn_assets.local.endpoints import given_endpoints, seed_from
from txn_assets.local.stack import ensure_up
from txn_assets_tests.local.conftest import RunCli

GIVEN: dict[str, Any] = {
    "gcs_url": "http://servers:20001",
    "bigquery_url": "http://servers:20002",
    "postgres_host": "servers",
    "postgres_port": 5432,
}


def test_given_servers_are_used_and_none_is_started(stack_home: Path, tmp_path: Path) -> None:
    """A run with another TXN_HOME loads into the given servers and starts none of its own."""
    servers = ensure_up(stack_home, seed_from(load_config()))
    given = {name: getattr(servers, name) for name in GIVEN}
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("dagster"), "asset", "materialize", "-m", "txn_assets.definitions"),
            *("--select", "key:raw_csv+", "--partition", "transactions.csv"),
        ],
        env={
            "PATH": os.defpath,
            "DAGSTER_HOME": str(tmp_path),
            "TXN_TARGET": "local",
            "TXN_HOME": str(tmp_path / "scratch"),
            "TXN_LOCAL_ENDPOINTS": json.dumps(given),
            "TXN_PG_PASSWORD": servers.postgres_password,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "scratch" / "stack.json").exists()
    with psycopg.connect(servers.postgres_dsn) as connection:
        table = load_config().data_warehouse.postgres
        query = f"SELECT count(*) FROM {table.schema_}.{table.table} WHERE source_file = 'transactions.csv'"
        rows = connection.execute(query).fetchone()
    assert rows == (4,)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ("here", "is not a JSON object"),
        ({"postgres_password": "x"}, "exactly the keys gcs_url, bigquery_url, postgres_host, postgres_port"),
        ({"gcs_url": "servers:20001"}, "has 'servers:20001' as gcs_url, which is not like http://host:port"),
        ({"postgres_port": "5432"}, "has 'servers' and '5432' as postgres_host and postgres_port"),
    ],
)
def test_unusable_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, changed: str | dict[str, Any], problem: str
) -> None:
    """An unusable value is refused in one sentence with an example."""
    text = changed if isinstance(changed, str) else json.dumps(GIVEN | changed)
    monkeypatch.setenv("TXN_LOCAL_ENDPOINTS", text)
    monkeypatch.setenv("TXN_PG_PASSWORD", "password")
    with pytest.raises(ConfigError, match=problem) as refusal:
        given_endpoints(seed_from(load_config()))
    assert '{"gcs_url": "http://local-servers:20001", ' in str(refusal.value)


def test_commands_with_servers_of_their_own_refuse_it(home: Path, cli: RunCli) -> None:
    """`up` starts nothing while others run the servers, and says what to do."""
    done = cli("up", home=home, TXN_LOCAL_ENDPOINTS=json.dumps(GIVEN))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "TXN_LOCAL_ENDPOINTS names servers that run elsewhere, but this command needs its own: unset it.\n"
    )
    assert not home.exists()


def test_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable, as an unset value of a chart gives it, counts as not set."""
    monkeypatch.setenv("TXN_LOCAL_ENDPOINTS", "")
    assert local_endpoints() is None
