"""`up --listen ADDRESS`: the stack for clients that have their own loopback."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from txn_assets.environment import project_root
from txn_assets_tests.local.conftest import RunCli

ADDRESS = "127.0.0.2"
"""A second address of this machine; in real use, a cluster's bridge."""


def test_gcp_target_loads_a_file_through_the_second_address(home: Path, cli: RunCli, tmp_path: Path) -> None:
    """With the exports of `env` on that address, TXN_TARGET=gcp loads all three stores, as a cluster's pods do."""
    up = cli("up", "--listen", ADDRESS, home=home)
    assert up.returncode == 0, up.stderr
    assert re.search(rf"^forward +up +http://{ADDRESS}:", up.stdout, re.MULTILINE)
    assert "without a password" in up.stderr

    exports = cli("env", home=home).stdout.replace("127.0.0.1", ADDRESS)
    variables = dict(re.findall(r"^export (\w+)=(.*)$", exports, re.MULTILINE))
    # As the pods get them: the file in a Secret, the variables in the values.
    credentials = json.loads((home / "stack" / "credentials.json").read_text().replace("127.0.0.1", ADDRESS))
    (tmp_path / "credentials.json").write_text(json.dumps(credentials))
    config = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text())
    config["security"]["hash"] = {"algorithm": "hmac-sha256", "key_id": "local"}
    config["data_warehouse"]["postgres"] = {
        "host": ADDRESS,
        "port": int(variables["PGPORT"]),
        "dbname": variables["PGDATABASE"],
        "user": variables["PGUSER"],
        "sslmode": "disable",
    }
    (tmp_path / "pipeline_config.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("dagster"), "asset", "materialize", "-m", "txn_assets.definitions"),
            *("--select", "*", "--partition", "transactions.csv"),
        ],
        env={
            "PATH": os.defpath,
            "DAGSTER_HOME": str(tmp_path),
            "TXN_TARGET": "gcp",
            "TXN_HASH_KEY": "k" * 32,
            "TXN_HOME": str(tmp_path / "scratch"),
            "TXN_CONFIG": str(tmp_path / "pipeline_config.yaml"),
            "TXN_PG_PASSWORD": variables["PGPASSWORD"],
            "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "credentials.json"),
            **{name: variables[name] for name in ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "NO_GCE_CHECK")},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("action loaded") == 3

    assert "forward" in cli("up", home=home).stdout
    assert cli("down", home=home).returncode == 0
    assert "forward" not in cli("up", home=home).stdout


@pytest.mark.parametrize("address", ["203.0.113.7", "0.0.0.0", "127.0.0.1", "localhost"])  # noqa: S104 - what is refused
def test_address_of_another_machine_is_refused(address: str, home: Path, cli: RunCli) -> None:
    """Another machine's address, all addresses, loopback and a name are refused in one sentence; nothing starts."""
    done = cli("up", "--listen", address, home=home)
    assert done.returncode == 1
    assert done.stderr.startswith(f"--listen {address}: ")
    assert done.stderr.count("\n") == 1
    assert not (home / "stack.json").exists()


def test_address_that_is_gone_is_named_with_the_remedy(home: Path, cli: RunCli) -> None:
    """A stack whose second address is gone, as after a reboot, says so; `down` forgets the address."""
    (home / "stack").mkdir(parents=True)
    (home / "stack" / "listen").write_text("203.0.113.7")
    done = cli("up", home=home)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("--listen 203.0.113.7: not an IPv4 address of this machine.")
    assert "txn down` forgets" in done.stderr
    cli("down", home=home)
    assert not (home / "stack" / "listen").exists()
