"""`python -m txn_assets.local up|down|status|env`: the local stack by hand."""

import argparse
import shlex
import sys

from txn_assets.config import ConfigError, load_config, txn_home
from txn_assets.local.stack import Endpoints, LocalStackError, down, ensure_up, seed_from, status


def main() -> int:
    """Runs the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m txn_assets.local", description="The embedded GCS, BigQuery and PostgreSQL servers."
    )
    parser.add_argument("command", choices=("up", "down", "status", "env"))
    command = parser.parse_args().command
    try:
        return _run(command)
    except (ConfigError, LocalStackError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(command: str) -> int:
    home = txn_home()
    if command == "down":
        sys.stdout.write("The local stack is stopped.\n" if down(home) else "The local stack was not running.\n")
        return 0
    if command in ("up", "env"):
        config = load_config()
        endpoints = ensure_up(home, seed_from(config))
        if command == "env":
            sys.stdout.write("".join(f"export {k}={shlex.quote(v)}\n" for k, v in _variables(endpoints).items()))
            return 0
    servers = status(home)
    for server in servers:
        state = "up  " if server.up else "down"
        sys.stdout.write(f"{server.name:<9} {state} {server.address or '-':<52} log {server.log}\n")
    return 0 if all(server.up for server in servers) else 1


def _variables(endpoints: Endpoints) -> dict[str, str]:
    return {
        "STORAGE_EMULATOR_HOST": endpoints.gcs_url,
        "BIGQUERY_EMULATOR_HOST": endpoints.bigquery_url,
        "GOOGLE_CLOUD_PROJECT": load_config().data_warehouse.project_id,
        "GOOGLE_APPLICATION_CREDENTIALS": str(txn_home() / "credentials.json"),
        "TXN_PG_DSN": endpoints.postgres_dsn,
        "PGHOST": endpoints.postgres_host,
        "PGPORT": str(endpoints.postgres_port),
        "PGUSER": endpoints.postgres_user,
        "PGPASSWORD": endpoints.postgres_password,
        "PGDATABASE": endpoints.postgres_dbname,
        # gcsfs would ask Google's control plane for the kind of the bucket, and wait a minute for no answer.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "NO_GCE_CHECK": "true",
    }


if __name__ == "__main__":
    sys.exit(main())
