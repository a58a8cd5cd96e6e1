"""The folder of fake-gcs-server: check which names it can hold, and move finished uploads into it.

This module is the only one that relies on the server's file layout: an object is the file `<bucket>/<name>`, and its
attributes are JSON in the extended attribute `user.metadata`. The server caches none of it, so a file that is moved in
is immediately an object. Resumable uploads take that path, because the server would hold each of them in memory two to
five times. Afterwards `upload_requests.py` asks the server for the object: if a different version of the server uses
another layout, the upload fails with a message about it.
"""

import errno
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from txn_assets.local.gcs_shim.uploads import Body

_ATTRIBUTE = "user.metadata"
_MAX_SEGMENT_BYTES = 240
"""Maximum bytes per path segment. A file name may have 255 bytes, and the server adds some for its temporary files."""


class UnstorableError(Exception):
    """The server's folder cannot hold an object with that name; the message says why."""


class Store:
    """Root folder of fake-gcs-server, with a folder per bucket."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def takes_uploads(self) -> bool:
        """Return whether the file system supports extended attributes. If not, the server uses another layout."""
        try:
            os.getxattr(self._root, _ATTRIBUTE)
        except OSError as error:
            return error.errno == errno.ENODATA
        return True

    def has_bucket(self, bucket: str) -> bool:
        """Return whether there is a bucket of that name."""
        return (self._root / bucket).is_dir()

    def check(self, bucket: str, name: str) -> None:
        """Reject names that the server would confuse, lose, or write outside its folder.

        Raises:
            UnstorableError: the server cannot hold an object with that name.
        """
        segments = name.removesuffix("/").split("/")
        if any(segment in {"", ".", ".."} for segment in (bucket, *segments)) or "\0" in name:
            message = f"the name {name!r} has an empty part, '.' or '..' between its slashes"
        elif any(len(segment.encode()) > _MAX_SEGMENT_BYTES for segment in segments):
            message = f"the name {name!r} has more than {_MAX_SEGMENT_BYTES} bytes between two slashes"
        else:
            return
        message = f"The local GCS keeps objects as files, and cannot hold this one: {message}."
        raise UnstorableError(message)

    def check_new(self, bucket: str, name: str) -> None:
        """Reject `a/b` if `a` exists, and `a` if `a/b` exists, because a path is either a file or a folder.

        Raises:
            UnstorableError: the server cannot hold an object with that name next to the existing ones.
        """
        self.check(bucket, name)
        path = self._root / bucket / name
        folder = self._root / bucket
        for above in reversed(path.relative_to(folder).parents):
            if (folder / above).is_file():
                message = f"The local GCS keeps objects as files, and cannot hold {name!r} next to {str(above)!r}."
                raise UnstorableError(message)
        if path.is_dir() and not name.endswith("/"):
            message = f"The local GCS keeps objects as files, and cannot hold {name!r} next to '{name}/...'."
            raise UnstorableError(message)

    def place(self, body: Body, bucket: str, name: str, metadata: Mapping[str, Any], *, after: int) -> None:
        """Move a finished upload into the folder, as an object with a generation later than `after`."""
        body.finish()
        attributes = _attributes(body, metadata, generation=max(time.time_ns() // 1_000, after + 1))
        os.setxattr(body.path, _ATTRIBUTE, json.dumps(attributes).encode())
        target = self._root / bucket / name
        target.parent.mkdir(parents=True, exist_ok=True)
        body.path.replace(target)


def _attributes(body: Body, metadata: Mapping[str, Any], *, generation: int) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    never = "0001-01-01T00:00:00Z"
    return {
        "StorageClass": metadata.get("storageClass") or "STANDARD",
        "ContentType": metadata.get("contentType") or "",
        "ContentEncoding": metadata.get("contentEncoding") or "",
        "ContentDisposition": metadata.get("contentDisposition") or "",
        "ContentLanguage": metadata.get("contentLanguage") or "",
        "CacheControl": metadata.get("cacheControl") or "",
        "Crc32c": body.crc32c,
        "Md5Hash": body.md5,
        "Etag": body.md5,
        "ACL": [{"Entity": "projectOwner-test-project", "EntityID": "", "Role": "OWNER", "Domain": "", "Email": ""}],
        "Metadata": metadata.get("metadata"),
        "Created": now,
        "Updated": now,
        "Deleted": never,
        "CustomTime": metadata.get("customTime") or never,
        "Generation": generation,
        "RetentionMode": "",
        "RetentionRetainUntil": "",
    }
