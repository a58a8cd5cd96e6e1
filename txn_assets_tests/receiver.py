"""A receiver of alerts over HTTP, as tests use it: it keeps what is posted, and can be out of order."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """A running receiver.

    Attributes:
        url: where to post; its path is a secret, as that of a real one.
        status: what it answers.
    """

    url: str
    status: int = 200
    messages: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0

    @property
    def texts(self) -> list[str]:
        """Return the text of each message, without heartbeats."""
        return [one["text"] for one in self.messages if ": heartbeat, " not in one["text"]]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver until the block ends."""
    receiver = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if receiver.status == 200:
                receiver.messages.append(content)
            else:
                receiver.refused += 1
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/services/SECRET"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
