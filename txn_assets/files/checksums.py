"""CRC-32C checksums as GCS reports them: base64 of the big-endian sum."""

import base64
from pathlib import Path

import google_crc32c


class Checksum:
    """The checksum of data that arrives in pieces."""

    def __init__(self) -> None:
        self._checksum = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # the package has no types

    def update(self, data: bytes) -> None:
        """Add `data`, the next bytes."""
        self._checksum.update(data)  # type: ignore[no-untyped-call]  # the package has no types

    def base64(self) -> str:
        """Return the checksum of the data added so far."""
        return base64.b64encode(self._checksum.digest()).decode()  # type: ignore[no-untyped-call]  # no types


def crc32c(path: Path) -> str:
    """Return the checksum of the file at `path`."""
    checksum = Checksum()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            checksum.update(data)
    return checksum.base64()
