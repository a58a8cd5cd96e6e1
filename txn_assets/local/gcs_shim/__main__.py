"""Run the shim: `python -m txn_assets.local.gcs_shim --port … --backend-port …`.

This module only parses arguments. The supervisor starts the shim; see txn_assets/local/README.md.
"""

import argparse
from pathlib import Path

from aiohttp import web

from txn_assets.local.gcs_shim.proxy import Proxy, application


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--backend-port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--identity", required=True)
    given = parser.parse_args()
    proxy = Proxy(
        backend=f"http://127.0.0.1:{given.backend_port}", store=given.store, spool=given.spool, identity=given.identity
    )
    web.run_app(
        application(proxy), host="127.0.0.1", port=given.port, print=None, access_log=None, shutdown_timeout=2.0
    )


if __name__ == "__main__":
    main()
