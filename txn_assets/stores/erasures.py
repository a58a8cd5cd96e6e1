"""The register of erasure requests: one object per feed in the bucket, which every run reads.

`files/erasures.py` says what a request is, and `erasure/` carries it out.
"""

from collections.abc import Callable
from dataclasses import dataclass

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import storage
from pydantic import ValidationError

from txn_assets.files.erasures import ErasureError, ErasureRequests, from_json
from txn_assets.stores.clients import Clients

ATTEMPTS = 20
"""How often to write again after somebody else has written at the same time."""


@dataclass
class ErasureRegister:
    """Reads and writes the requests of a feed, below a prefix in the bucket."""

    clients: Clients
    bucket: str
    prefix: str
    feed: str

    @property
    def address(self) -> str:
        """The gs:// address of the object."""
        return f"gs://{self.bucket}/{self._name}"

    def read(self) -> ErasureRequests:
        """Return the requests, with one request to the storage; none if there is no object.

        Raises:
            ErasureError: somebody else has changed the object.
        """
        try:
            return self._parse(bytes(self._bucket.blob(self._name).download_as_bytes()))
        except NotFound:
            return ErasureRequests(feed=self.feed)

    def update(self, change: Callable[[ErasureRequests], ErasureRequests]) -> ErasureRequests:
        """Write what `change` makes of the requests, and return it; start over if somebody else wrote meanwhile.

        Raises:
            ErasureError: somebody else has changed the object, or keeps writing it.
        """
        for _ in range(ATTEMPTS):
            blob = self._bucket.get_blob(self._name)
            generation = 0 if blob is None else int(blob.generation)
            try:
                before = self._pinned(generation)
                after = change(before)
                if after != before:
                    data = after.to_json()
                    self._bucket.blob(self._name).upload_from_string(
                        data, content_type="application/json", if_generation_match=generation, checksum="crc32c"
                    )
            except (PreconditionFailed, NotFound):
                continue
            return after
        message = f"{self.address} is written by others all the time. Try again."
        raise ErasureError(message)

    def _pinned(self, generation: int) -> ErasureRequests:
        if not generation:
            return ErasureRequests(feed=self.feed)
        return self._parse(bytes(self._bucket.blob(self._name, generation=generation).download_as_bytes()))

    def _parse(self, data: bytes) -> ErasureRequests:
        try:
            return from_json(data)
        except ValidationError as error:
            message = (
                f"{self.address} is not a register of erasure requests, so nobody knows whose rows to leave out. "
                "Restore the generation before somebody changed it."
            )
            raise ErasureError(message) from error

    @property
    def _name(self) -> str:
        return f"{self.prefix}/{self.feed}/requests.json"

    @property
    def _bucket(self) -> storage.Bucket:
        return self.clients.storage.bucket(self.bucket)
