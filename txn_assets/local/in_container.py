"""Run the local servers as the only program of a container: `python -m txn_assets.local.in_container ADDRESS`.

Clients in other containers reach them at ADDRESS, the container's own, on the ports below, with the password in
TXN_PG_PASSWORD. Dockerfile.servers is the image and helm-values/local-servers.yaml the pod. Keep it out of the
production image's entry points: GCS and BigQuery ask for no password here.
"""

import signal
import sys
import threading

from txn_assets.config import load_config
from txn_assets.environment import postgres_password, txn_home
from txn_assets.errors import UserError
from txn_assets.local.endpoints import seed_from
from txn_assets.local.home import Home, read_json, write_json, write_private
from txn_assets.local.processes import Process
from txn_assets.local.stack import down, ensure_up, listen_on

PORTS = {
    "gcs": 20001,
    "bigquery": 20002,
    "postgres": 20003,
    "issuer": 20004,
    "fake-gcs-server": 20005,
    "bigquery-grpc": 20006,
}


def main(address: str) -> int:
    """Run the servers until a signal asks for their end, and return 0, or until one of them ends, and return 1."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # The first process of a container ignores signals that it does not handle.
        signal.signal(number, lambda *_: stop.set())
    home = Home(txn_home())
    home.postgres.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(home.ports, PORTS)
    write_private(home.postgres / "password", postgres_password())
    listen_on(home.root, address)
    ensure_up(home.root, seed_from(load_config()))
    sys.stdout.write(f"The local servers listen on {address}: {PORTS}\n")
    supervisor = Process(**(read_json(home.processes) or {})["processes"][0])
    while supervisor.is_alive():
        if stop.wait(1):
            down(home.root)
            return 0
    sys.stderr.write(f"A local server has ended; see {home.logs}.\n")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except UserError as error:
        sys.exit(str(error))
