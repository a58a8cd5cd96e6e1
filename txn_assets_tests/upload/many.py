"""Many uploads at once, some of them cut short or with a wrong digest."""

import base64
import hashlib
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from txn_assets_tests.deployment import make_file, many_rows
from txn_assets_tests.upload.server import Service

_WRONG = f"sha-256=:{base64.b64encode(hashlib.sha256(b'').digest()).decode()}:"


def upload_at_once(service: Service, threads: ThreadPoolExecutor, count: int) -> Mapping[str, bytes]:
    """Upload `count` files at once and return the accepted ones by their landed names.

    Every tenth breaks off, and every tenth announces a wrong digest and must be refused.
    """
    files = [(n, f"many-{n}.csv", make_file(*many_rows(20 + n, start=1000 * n))) for n in range(count)]

    def send(file: tuple[int, str, bytes]) -> int | None:
        n, name, content = file
        if n % 10 == 3:
            break_off(service, name, content)
            return None
        headers = {"Repr-Digest": _WRONG} if n % 10 == 7 else {}
        return service.upload(content, name, headers=headers).status_code

    statuses = list(threads.map(send, files))
    assert {n % 10 for n, status in enumerate(statuses) if status != 202} == {3, 7}, statuses
    assert {status for n, status in enumerate(statuses) if n % 10 == 7} == {400}, statuses
    return {f"anonymous/{name}": content for n, name, content in files if statuses[n] == 202}


def break_off(service: Service, name: str, content: bytes) -> None:
    """Send all of a form but its end, and go away."""
    part = f'--X\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content
    headers = f"Host: x\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: {len(part) + 9}"
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as connection:
        connection.sendall(f"POST /ingest HTTP/1.1\r\n{headers}\r\n\r\n".encode() + part)
