"""Open a file that has not landed."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from txn_assets.errors import UserError
from txn_assets.feeds.feed import Feed
from txn_assets.rows.reader.header import UnreadableFileError


class FileError(UserError):
    """The file cannot be read; the message says why."""


@contextmanager
def open_file(file: Path, feed: Feed) -> Iterator[BinaryIO]:
    """Open `file` of `feed`, and turn what is wrong with it as a whole into the sentence with which a load refuses it.

    Raises:
        FileError: there is no such file, its permissions do not allow it, or it is not a file of the feed.
    """
    try:
        with file.open("rb") as stream:
            yield stream
    except UnreadableFileError as error:
        message = f"{file.name} is not {feed.file}: {error}."
        raise FileError(message) from error
    except OSError as error:
        message = f"{file} cannot be checked: {error.strerror or error}."
        raise FileError(message) from error


def today() -> dt.date:
    """Return the day of a run that begins now."""
    return dt.datetime.now(dt.UTC).date()
