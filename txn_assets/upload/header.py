"""Check the first bytes of an upload, so that a file which no load would accept does not land."""

import datetime as dt
import threading

from txn_assets.feeds.feed import Feed
from txn_assets.rows.processing import read_header
from txn_assets.rows.reader.header import OtherFormatError, UnreadableFileError
from txn_assets.upload.problems import Problem

HEAD_BYTES = 1 << 16
"""How much of a file to look at."""

_BLOCK_BYTES = 1 << 14
"""How much of it to read at once. UTF-16 takes twice the bytes."""

_ONE_AT_A_TIME = threading.Semaphore(1)
"""Describing what a refused file looks like takes memory for its first rows in many forms."""


class _ContinuesError(Exception):
    """The file has more bytes than were looked at."""


class _Head:
    """The first bytes of a file, as a stream."""

    def __init__(self, data: bytes, *, is_whole: bool) -> None:
        self._data = memoryview(data)
        self._is_whole = is_whole

    def read(self, size: int = -1, /) -> bytes:
        size = len(self._data) if size < 0 else size
        data, self._data = bytes(self._data[:size]), self._data[size:]
        if not data and size and not self._is_whole:
            raise _ContinuesError
        return data


def check_head(head: bytes, feed: Feed, *, is_whole: bool) -> None:
    """Check that `head`, the first bytes of a file, begins a file of `feed`.

    Accept what `head` cannot tell, such as a header that is longer: the load checks the whole file.

    Raises:
        Problem: it does not; the sentence is the one with which a load would refuse the file.
    """
    reading = feed.reading(dt.datetime.now(dt.UTC).date())
    try:
        with _ONE_AT_A_TIME:
            read_header(_Head(head, is_whole=is_whole), reading, block_bytes=_BLOCK_BYTES)
    except _ContinuesError:
        return
    except UnreadableFileError as error:
        status = 415 if isinstance(error, OtherFormatError) else 422
        raise Problem(status, f"This is not {feed.file}: {error}.") from error
