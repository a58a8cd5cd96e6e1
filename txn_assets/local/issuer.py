"""The throw-away issuer of bearer tokens: publishes the key that `tokens.py` signs with, as an issuer of OAuth2 does.

It runs in `.venv-servers`, so use only the standard library. It publishes no key until the first token is made.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from txn_assets.local import probes
from txn_assets.local.home import Home, read_json
from txn_assets.local.servers import Server

_PUBLIC = ("kty", "crv", "x", "y", "kid", "alg", "use")
"""Members of the key to publish. `d` is the secret."""


def server(home: Home, ports: Mapping[str, int]) -> Server:
    """Describe the issuer."""
    url = f"http://127.0.0.1:{ports['issuer']}"
    return Server(
        name="issuer",
        command=(
            *(sys.executable, "-P", "-S", "-m", "txn_assets.local.issuer"),
            *("--port", str(ports["issuer"]), "--key", str(home.token_key)),
        ),
        environment={"PYTHONPATH": os.environ["PYTHONPATH"]},
        folder=home.stack,
        url=url,
        answers=lambda: probes.issuer_answers(url, patience=probes.START_PATIENCE),
    )


class _Issuer(ThreadingHTTPServer):
    """Serves on loopback."""

    daemon_threads = True

    def __init__(self, port: int, key: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.key = key

    def document(self, path: str) -> dict[str, object] | None:
        """Return what is published at `path`, or None if nothing is."""
        url = f"http://127.0.0.1:{self.server_port}"
        if path == "/.well-known/openid-configuration":
            return {"issuer": url, "jwks_uri": f"{url}/jwks.json"}
        if path == "/jwks.json":
            key = read_json(self.key)
            return {"keys": [{name: key[name] for name in _PUBLIC}] if key else []}
        return None


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: _Issuer

    def do_GET(self) -> None:
        """Send a document."""
        document = self.server.document(self.path)
        content = json.dumps(document or {}).encode()
        self.send_response(HTTPStatus.NOT_FOUND if document is None else HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Write no access log: the probes would fill it."""


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", type=Path, required=True)
    given = parser.parse_args()
    with _Issuer(given.port, given.key) as issuer:
        issuer.serve_forever()


if __name__ == "__main__":
    main()
