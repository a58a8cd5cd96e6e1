"""Serve a bucket of many objects on loopback, listings only: `python -m benchmarks.fake_gcs OBJECTS SECONDS_APART`.

It stands in for one request of GCS's JSON API; there are no uploads or downloads. As in GCS, a page costs the same
wherever it begins, whereas the embedded GCS of the local target walks its whole bucket for each page. The newest object
is one second old. Names sort differently from generations, so new objects appear on any page. The process prints its
port and exits when stdin closes. It uses only the standard library, to answer as fast as possible.
"""

import json
import re
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

PREFIX = "landing/transactions/"
STRIDE = 7_919
"""Prime stride: the n-th generation belongs to the name numbered n * STRIDE modulo the number of objects."""


class Bucket:
    """Objects in name order, and how often they were listed."""

    def __init__(self, objects: int, seconds_apart: float) -> None:
        newest = time.time_ns() // 1000 - 1_000_000
        made = []
        for number in range(objects):
            name = f"{PREFIX}{number * STRIDE % objects:09d}.csv"
            generation = newest - int((objects - 1 - number) * seconds_apart * 1e6)
            made.append((name, str(generation)))
        self._objects = sorted(made)
        self._names = [name for name, _ in self._objects]
        self.requests = 0

    def page(self, query: Mapping[str, str]) -> dict[str, object]:
        """Return the response to one listing request."""
        self.requests += 1
        prefix = query.get("prefix", "")
        begin = bisect_left(self._names, max(prefix, query.get("startOffset", "")))
        # This is the highest code point, so no name with the prefix sorts after it.
        end = bisect_left(self._names, f"{prefix}\U0010ffff")
        if "endOffset" in query:
            end = min(end, bisect_left(self._names, query["endOffset"]))
        begin = int(query.get("pageToken", begin))
        stop = min(end, begin + min(int(query.get("maxResults", 1000)), 1000))
        wanted = re.search(r"items\(([^)]*)\)", query.get("fields", ""))
        names = wanted[1].split(",") if wanted else None
        items = [_item(name, generation, names) for name, generation in self._objects[begin:stop]]
        return {"items": items} | ({"nextPageToken": str(stop)} if stop < end else {})


def _item(name: str, generation: str, fields: list[str] | None) -> dict[str, str]:
    item = {"name": name, "generation": generation, "metageneration": "1", "size": "47000", "crc32c": "AAAAAA=="}
    return item if fields is None else {field: item[field] for field in fields}


def serve(bucket: Bucket) -> ThreadingHTTPServer:
    """Return a server of `bucket` on a free port; GET /requests returns the number of listings served.

    The client also requests the bucket itself, for its traces, and accepts any answer.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without this, each response is written in two pieces and waits for a delayed ACK.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            answer: object = None
            if address.path == "/requests":
                answer = bucket.requests
            elif address.path.endswith("/o"):
                answer = bucket.page(dict(parse_qsl(address.query)))
            body = json.dumps(answer).encode()
            self.send_response(HTTPStatus.OK if answer is not None else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def main() -> None:
    """Serve until stdin closes."""
    objects, seconds_apart = sys.argv[1:]
    server = serve(Bucket(int(objects), float(seconds_apart)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
