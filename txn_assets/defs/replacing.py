"""Check whether a file may replace the rows that the stores hold under its name; `make run` does this before landing.

An upload to the landing zone replaces the earlier version of a file without asking. A person at a terminal may not know
that a different file was loaded under the same name. See docs/operations.md.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from txn_assets.feeds.feed import Feed
from txn_assets.files.checksums import crc32c
from txn_assets.files.ledger import LoadRecord
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.reader.csv_file import CsvFile
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets.rows.validation import validate
from txn_assets.stores.gcs.store import GcsStore
from txn_assets.stores.postgres.store import PostgresStore
from txn_assets.stores.services import Services

COMPARED_IDS = 100_000
"""Maximum number of ids of a file to look up in PostgreSQL, which limits memory."""

COMPARED_CHARACTERS = 32 << 20
"""Maximum total length of the ids to look up, because ids that are not hashed may be long."""


class ReplacementError(Exception):
    """A file would replace rows that do not look like an earlier version of it; the message says what to do."""


def check_replacement(file: Path, name: str, services: Services, *, is_asked_for: bool) -> str | None:
    """Describe what loading `file` as `name` would replace; return None if it replaces nothing, or the same content.

    Raises:
        ReplacementError: `is_asked_for` is false and the rows are unrelated, or the file cannot be read.
        StoreError: a store cannot be queried.
    """
    lake, table = services.stores["gcs"], services.stores["postgres"]
    assert isinstance(lake, GcsStore)
    assert isinstance(table, PostgresStore)
    held = in_table = table.retry_transient(lambda: table.held(name))
    if held is None:
        held = lake.retry_transient(lambda: lake.held(name))
    if held is None or not held.totals.rows or held.file.crc32c == crc32c(file):
        return None
    if not is_asked_for:
        hashers = {hasher.key_id: hasher for hasher in services.run_files.hashers}
        ids = _first_ids(file, services.feed, hashers.get(held.key_id, services.run_files.hasher))
        has_ids = services.feed.contract.row_id is not None
        comparable = has_ids and in_table is not None and held.key_id in hashers
        is_shared = comparable and table.retry_transient(lambda: table.holds_any(name, ids))
        if not is_shared:
            raise ReplacementError(explain(file, name, held, ids=ids if comparable else None, has_ids=has_ids))
    return f"replaces {held.in_words()}"


def explain(file: Path, name: str, held: LoadRecord, *, ids: Sequence[str] | None, has_ids: bool = True) -> str:
    """Return the message for a file that shares none of its `ids` with `held`; `ids` is None if not comparable.

    `has_ids` is false if the rows of the feed have no id.
    """
    if not has_ids:
        why = "and these rows have no ids that could be compared with those of this file"
    elif ids is None:
        why = "and their ids cannot be compared with those of this file (a different hash key, or not in PostgreSQL)"
    elif not ids:
        why = "and this file has no valid row with an id"
    elif len(ids) < COMPARED_IDS:
        why = "and none of the ids in this file is among theirs"
    else:
        why = f"and none of the first {len(ids):,} ids in this file is among theirs"
    return (
        f"{file} is not landed: the stores hold {held.in_words()} as {name!r}, {why}. "
        f"To replace those rows, add REPLACE=1 (--replace). To keep them and load this file as well, "
        f"give it a different name: NAME=other_name.csv (--name)."
    )


def _first_ids(file: Path, feed: Feed, hasher: Hasher) -> list[str]:
    """Return the first ids of valid rows, hashed if the stores hold them hashed."""
    ids: list[str] = []
    characters = 0
    contract, row_id = feed.reading(dt.datetime.now(dt.UTC).date()).contract, feed.contract.row_id
    if row_id is None:
        return []
    convert = hasher.hexdigest if row_id in hasher.pii_fields else str
    try:
        with file.open("rb") as stream:
            rows = CsvFile(stream, contract, feed.file_format, feed.limits)
            for verdict in validate(rows, contract, batch_size=feed.batch_size, threads=2):
                for value in verdict.valid.column(row_id):
                    if len(ids) == COMPARED_IDS or characters > COMPARED_CHARACTERS:
                        return ids
                    if value.is_valid:
                        ids.append(convert(value.as_py()))
                        characters += len(ids[-1])
    except UnreadableFileError as error:
        message = f"{file} is not {feed.file}: {error}. It is not landed."
        raise ReplacementError(message) from error
    return ids
