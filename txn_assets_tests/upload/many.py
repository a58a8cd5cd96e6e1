"""Many uploads at once, some of them cut short, with a wrong digest, or overtaken by another one of their name."""

import base64
import hashlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from txn_assets.environment import txn_home
from txn_assets.local.home import Home
from txn_assets_tests.deployment import make_file, make_row, many_rows
from txn_assets_tests.upload.server import Service

_WRONG = f"sha-256=:{base64.b64encode(hashlib.sha256(b'').digest()).decode()}:"


def upload_at_once(
    service: Service, threads: ThreadPoolExecutor, count: int, *, wait_seconds: int = 0
) -> Mapping[str, bytes]:
    """Upload `count` files at once and return the accepted ones by their landed names.

    The first three wait for their loads as long as `wait_seconds`.

    Every tenth breaks off, every tenth announces a wrong digest, and every tenth begins before another one of its name
    lands. The last two must be refused.
    """
    files = [(n, f"many-{n}.csv", make_file(*many_rows(20 + n, start=1000 * n))) for n in range(count)]

    def send(file: tuple[int, str, bytes]) -> int | None:
        n, name, content = file
        if n % 10 == 3:
            break_off(service, name, content)
            return None
        if n % 10 == 5:
            return overtake(service, name, content)
        if n < 3:
            response = service.upload(content, name, headers={"Prefer": f"wait={wait_seconds}"})
            # Its load has ended, or the wait has.
            return 202 if response.json() == {"status": "success", "processed": 20 + n} else response.status_code
        headers = {"Repr-Digest": _WRONG} if n % 10 == 7 else {}
        return service.upload(content, name, headers=headers).status_code

    statuses = list(threads.map(send, files))
    wanted = {3: None, 5: 412, 7: 400}
    assert statuses == [wanted.get(n % 10, 202) for n in range(count)], statuses
    # An overtaken file has the content of the one that overtook it.
    return {f"anonymous/{name}": content for n, name, content in files if n % 10 not in (3, 7)}


def big_file(marker: str, mebibytes: int = 10) -> bytes:
    """Return a file whose first row has `marker`, and that takes more than one chunk."""
    block = "".join(f"{row}\n" for row in many_rows(20_000)).encode()
    return make_file(make_row(product=marker)) + block * (mebibytes * (1 << 20) // len(block) + 1)


def is_spooled(marker: str) -> bool:
    """Return whether the local GCS has a session of a resumable upload with `marker` in its first row."""
    for path in Home(txn_home()).gcs_spool.iterdir():
        with suppress(FileNotFoundError), path.open("rb") as file:
            if marker.encode() in file.read(200):
                return True
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return once `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def overtake(service: Service, name: str, content: bytes) -> int:
    """Upload `content` while another upload of `name` is in progress, and return the status of that one."""
    first = big_file(f"overtaken {name}", 5)
    headers = {"Content-Type": "text/csv", "Prefer": "wait=0"}

    def body() -> Iterator[bytes]:
        yield first[:-100]
        wait_until(lambda: is_spooled(f"overtaken {name}"), 60.0)
        assert service.upload(content, name).status_code == 202
        yield first[-100:]

    return service.post("/ingest", params={"name": name}, data=body(), headers=headers).status_code


def break_off(service: Service, name: str, content: bytes) -> None:
    """Send all of a form but its end, and go away."""
    part = f'--X\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content
    headers = f"Host: x\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: {len(part) + 9}"
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as connection:
        connection.sendall(f"POST /ingest HTTP/1.1\r\n{headers}\r\n\r\n".encode() + part)
