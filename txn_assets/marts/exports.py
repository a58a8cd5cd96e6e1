"""Export marts as CSV and JSON objects below `data_lake.marts`, for people and spreadsheets."""

import csv
import datetime as dt
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from txn_assets.marts.mart import COLUMN_TYPES, TOTAL_QUANTITY, Mart, MartRow, MartVersion
from txn_assets.rows.quarantine import formula_safe
from txn_assets.stores import google_errors
from txn_assets.stores.clients import Clients
from txn_assets.stores.errors import StoreError
from txn_assets.stores.retries import Budget, retry_transient

_VERSION = "mart_version"
"""The key in the metadata of an object that says which version of the mart it has."""
_CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Exports:
    """Where marts are exported to.

    Attributes:
        prefix: prefix of the objects, without a slash at the end.
        folder: where the files are written before they are uploaded.
    """

    clients: Clients
    bucket: str
    prefix: str
    folder: Path

    def write(self, mart: Mart, version: MartVersion, rows: Iterable[Sequence[MartRow]]) -> list[str]:
        """Write `mart` as CSV and as JSON, unless the objects have this `version`; return their addresses.

        `rows` come in batches, and are read once at most. Of two exports at once, the later one fails and tries again.

        Raises:
            StoreError: the bucket cannot be written.
        """
        held = {suffix: self._held(mart, suffix) for suffix in _CONTENT_TYPES}
        addresses = [f"gs://{self.bucket}/{self._name(mart, suffix)}" for suffix in _CONTENT_TYPES]
        stale = [suffix for suffix, (_, has) in held.items() if has != version.version]
        if not stale:
            return addresses
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            paths = {suffix: Path(folder) / f"{mart.name}.{suffix}" for suffix in _CONTENT_TYPES}
            _write_files(mart, rows, paths["csv"], paths["json"])
            for suffix in stale:
                self._upload(mart, suffix, paths[suffix], version, held[suffix][0])
        return addresses

    def _name(self, mart: Mart, suffix: str) -> str:
        return f"{self.prefix}/{mart.name}.{suffix}"

    def _held(self, mart: Mart, suffix: str) -> tuple[int, str]:
        """Return the generation of an object, 0 if there is none, and the version of the mart that it has."""

        def look() -> tuple[int, str]:
            bucket = self.clients.storage.bucket(self.bucket)
            blob = bucket.get_blob(self._name(mart, suffix), **self.clients.no_retry)
            return (0, "") if blob is None else (int(blob.generation), (blob.metadata or {}).get(_VERSION, ""))

        return self._retry(look)

    def _upload(self, mart: Mart, suffix: str, path: Path, version: MartVersion, generation: int) -> None:
        def upload() -> None:
            blob = self.clients.storage.bucket(self.bucket).blob(self._name(mart, suffix))
            blob.metadata = {_VERSION: version.version}
            try:
                blob.upload_from_filename(
                    str(path),
                    content_type=_CONTENT_TYPES[suffix],
                    checksum="crc32c",
                    if_generation_match=generation,
                    **self.clients.no_retry,
                )
            except Exception as error:
                if not google_errors.is_precondition_failure(error):
                    raise
                # An attempt whose answer was lost has written it, too.
                if self._held(mart, suffix)[1] == version.version:
                    return
                message = f"gs://{self.bucket}/{self._name(mart, suffix)} was written meanwhile: export the mart again."
                raise StoreError(message) from error

        self._retry(upload)

    def _retry[T](self, attempt: Callable[[], T]) -> T:
        return retry_transient(
            attempt,
            is_transient=google_errors.is_transient,
            explain=lambda error: google_errors.explain(error, f"GCS bucket {self.bucket}"),
            budget=Budget(),
        )


def _write_files(mart: Mart, batches: Iterable[Sequence[MartRow]], as_csv: Path, as_json: Path) -> None:
    with as_csv.open("w", encoding="utf-8", newline="") as table, as_json.open("w", encoding="utf-8") as array:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(mart.columns)
        array.write("[")
        before = "\n"
        for batch in batches:
            writer.writerows(csv_rows(mart, batch))
            before = _write_json(mart, batch, array, before)
        array.write("\n]\n")


def _write_json(mart: Mart, batch: Sequence[MartRow], file: TextIO, before: str) -> str:
    for row in batch:
        file.write(before + json.dumps(json_row(mart, row), ensure_ascii=False))
        before = ",\n"
    return before


def csv_rows(mart: Mart, rows: Sequence[MartRow]) -> Iterator[list[str | None]]:
    """Yield the values of `rows` as text for a CSV file that a spreadsheet can open without running a formula."""
    columns: list[list[str | None]] = [
        [None if value is None else str(value) for value in (_plain(name, row[place]) for row in rows)]
        for place, name in enumerate(mart.columns)
    ]
    for place, name in enumerate(mart.columns):
        if COLUMN_TYPES[name].is_text:
            columns[place] = formula_safe(pa.array(columns[place], pa.string())).to_pylist()
    yield from (list(row) for row in zip(*columns, strict=True))


def json_row(mart: Mart, row: MartRow) -> dict[str, str | int | None]:
    """Return `row` as an object for JSON. Money is text, because many readers would make it a binary float."""
    return {name: _plain(name, value) for name, value in zip(mart.columns, row, strict=True)}


def _plain(name: str, value: object) -> str | int | None:
    """Return a value as a whole number or text; money as in the data lake, with two decimals or as many as it needs."""
    if isinstance(value, Decimal):
        if COLUMN_TYPES[name] is TOTAL_QUANTITY:
            return int(value)
        whole, _, decimals = f"{value:f}".partition(".")
        return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
    if isinstance(value, dt.date):
        return value.isoformat()
    assert value is None or isinstance(value, str | int)
    return value
