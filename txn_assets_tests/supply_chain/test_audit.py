"""`make audit`: the exit code says whether vulnerabilities are known, none is, or nobody could say."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from txn_assets_tests.supply_chain.audit import KNOWN
from txn_assets_tests.supply_chain.licenses import locked


@contextmanager
def _advisories(*known: str) -> Iterator[str]:
    """Serve an OSV API that knows a vulnerability of each version in `known`; yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked, version = question["package"]["name"], question["version"]
            fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}
            affected = [{"package": {"name": asked, "ecosystem": "PyPI"}, "ranges": [fixed]}]
            vulnerability = {"id": f"TEST-{asked}", "summary": "made up", "affected": affected}
            content = json.dumps({"vulns": [vulnerability]} if f"{asked}=={version}" in known else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def _audit(url: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "txn_assets_tests.supply_chain.audit", "--url", url]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_known_vulnerability() -> None:
    """A vulnerability of a locked package is named with the version that fixes it."""
    certifi = f"certifi=={metadata.version('certifi')}"
    with _advisories(KNOWN, certifi) as url:
        code, text = _audit(url)
    assert code == 1
    assert text == (
        f"{certifi.replace('==', ' ')}: TEST-certifi, fixed in 999\n"
        f"{len(list(locked()))} packages of requirements.lock, 1 known vulnerabilities\n"
    )


def test_source_that_knows_nothing() -> None:
    """A source that does not know the known vulnerability either is not believed; nor is one that does not answer."""
    with _advisories() as url:
        assert _audit(url) == (3, (
            f"Nothing was audited: the source of advisories knows none of {KNOWN}, which has some. "
            "Run make audit where it can be reached.\n"
        ))  # fmt: skip
    code, text = _audit(url)
    assert (code, text.partition(" (")[0]) == (
        3,
        "Nothing was audited: pip-audit got no answer from the source of advisories",
    )
