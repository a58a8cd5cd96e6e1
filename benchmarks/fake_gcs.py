"""`python -m benchmarks.fake_gcs OBJECTS SECONDS_APART`: a bucket of many objects that only answers listings, on loopback.

Here belongs a stand-in for one request of GCS's JSON API. As in GCS, a page costs the same wherever it begins; the
embedded GCS of the local target walks its whole bucket for each. Uploads and downloads do not belong here. The newest
object is one second old; names stand in another order than generations, so that new objects lie on any page.
Prints its port, and ends with its standard input. Standard library only, to answer as fast as can be.
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
"""A prime: the n-th generation belongs to the name with the number n * STRIDE modulo the number of objects."""


class Bucket:
    """Objects in the order of their names, and how often they were listed."""

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
        """The answer to one request for a listing."""
        self.requests += 1
        prefix = query.get("prefix", "")
        begin = bisect_left(self._names, max(prefix, query.get("startOffset", "")))
        # The highest character there is: no name with the prefix comes after it.
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
    """A server of `bucket` on a free port; GET /requests tells how many listings it has answered.

    The client also asks for the bucket itself, for its traces, and goes on with whatever it is told.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else each answer, written in two pieces, waits for an acknowledgement that comes late.
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
            """Nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def main() -> None:
    """Serves until standard input ends."""
    objects, seconds_apart = sys.argv[1:]
    server = serve(Bucket(int(objects), float(seconds_apart)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
