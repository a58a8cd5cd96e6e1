"""CSV files for the tests of the reader, made line by line, and the message about one that is refused.

`rows.py` opens and reads them.
"""

from typing import Any

import pytest

from txn_assets.rows.reader.file_format import DEFAULT_FORMAT, FileFormat
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets_tests.unit.rows import HEADER, read_all

ROW = ("T001", "Halal Laptop", "999.99", "2", "2023-10-01")
LINE = ",".join(ROW)


def lines(*records: str, end: str = "\n") -> bytes:
    """Return the header and `records`, each followed by `end`."""
    return "".join(record + end for record in (HEADER, *records)).encode()


def form(**settings: Any) -> FileFormat:
    """Return the file format with `settings`, as a configuration has them."""
    return FileFormat.model_validate(settings)


def refusal(data: bytes, file_format: FileFormat = DEFAULT_FORMAT) -> str:
    """Return the reader's message about a file that it refuses."""
    with pytest.raises(UnreadableFileError) as caught:
        read_all(data, file_format)
    return str(caught.value)
