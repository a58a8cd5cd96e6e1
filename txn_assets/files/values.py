"""The values that assets pass to each other: small objects that name the files of a run, never their rows.

This module defines the value of each upstream asset and its JSON form; `stores/run_files.py` manages the rows.
A run may load several landed files, as a backfill does, so each value is a tuple of files.
"""

import datetime as dt
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from pydantic import TypeAdapter

from txn_assets.files.ledger import FileVersion, LoadDetails, LoadRecord, Totals
from txn_assets.files.report import ValidationReport
from txn_assets.files.shown import printable


@dataclass(frozen=True, slots=True)
class RawFile:
    """A landed file, pinned to one generation, with the columns of a transaction in its header."""

    version: FileVersion


@dataclass(frozen=True, slots=True)
class ValidatedFile:
    """A landed file whose rows were validated under the rules with the id `rules_id`.

    Attributes:
        started_at, seconds: when the validation began and how long it took; None if an earlier release validated it.
    """

    version: FileVersion
    rules_id: str
    report: ValidationReport
    started_at: dt.datetime | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class HashedFile:
    """The valid rows of a landed file with PII hashed, as a Parquet object with the columns of `hashed_rows.SCHEMA`.

    `lake_fingerprint` is the fingerprint of the rows without source_row, as in the lake; see `hashed_rows.totals`.
    `uri` is empty until the file is stored, and so is `rejects_uri`, the address of why rows were rejected, which stays
    empty if none was. `details` is what is known before the load; None if an earlier release
    validated the file. `erasures` is the number of the newest erasure request that was known when the rows were hashed.
    """

    version: FileVersion
    rules_id: str
    key_id: str
    totals: Totals
    lake_fingerprint: int
    malformed_digests: int
    uri: str = ""
    details: LoadDetails | None = None
    rejects_uri: str = ""
    erasures: int = 0

    @property
    def rejected(self) -> int:
        """How many rows of the file were rejected, as far as `details` say."""
        return self.details.rejected if self.details else 0

    @property
    def erased(self) -> int:
        """How many rows of the file were left out because of an erasure request, as far as `details` say."""
        return self.details.erased if self.details else 0

    def at(self, uri: str, *, rejects_uri: str = "") -> "HashedFile":
        """Return this file, stored at `uri`, and why rows were rejected at `rejects_uri`."""
        return replace(self, uri=uri, rejects_uri=rejects_uri)

    def load_record(self, run_id: str) -> LoadRecord:
        """Return the ledger row of this file after the run `run_id` has loaded it."""
        return LoadRecord(
            file=self.version,
            run_id=run_id,
            key_id=self.key_id,
            rules_id=self.rules_id,
            totals=self.totals,
            details=self.details,
        )


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that failed while the rest of its batch went on, and a sentence that says why."""

    name: str
    why: str

    def __str__(self) -> str:
        name = printable(self.name)
        return self.why if name in self.why else f"{name}: {self.why}"


@dataclass(frozen=True)
class _Files[FileT: (RawFile, ValidatedFile, HashedFile)]:
    # Each subclass repeats this field with its own type, because Pydantic would accept any of the three in JSON.
    files: tuple[FileT, ...]
    failed: tuple[FailedFile, ...] = ()

    def __iter__(self) -> Iterator[FileT]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def by_name(self) -> dict[str, FileT]:
        """Files by name of the landed file."""
        return {file.version.name: file for file in self.files}

    def of(self, names: Collection[str]) -> Self:
        """Return only the files in `names`, failed ones included."""
        files = tuple(file for file in self.files if file.version.name in names)
        return replace(self, files=files, failed=tuple(one for one in self.failed if one.name in names))

    def knows(self, names: Collection[str]) -> bool:
        """Return whether each of `names` is one of the files, failed ones included."""
        return set(names) <= {*self.by_name, *(one.name for one in self.failed)}

    def map(self, function: Callable[[FileT], FileT]) -> Self:
        """Return the files with `function` applied to each."""
        return replace(self, files=tuple(function(file) for file in self.files))


@dataclass(frozen=True)
class RawFiles(_Files[RawFile]):
    """The value of `raw_csv`."""

    files: tuple[RawFile, ...]


@dataclass(frozen=True)
class ValidatedFiles(_Files[ValidatedFile]):
    """The value of `validated_transactions`."""

    files: tuple[ValidatedFile, ...]


@dataclass(frozen=True)
class HashedFiles(_Files[HashedFile]):
    """The value of `hashed_transactions`."""

    files: tuple[HashedFile, ...]


def list_failures(failed: Sequence[FailedFile]) -> str:
    """Return the first `SHOWN_FAILURES` sentences of `failed` as one string, and how many more there are."""
    shown = " ".join(str(one) for one in failed[:SHOWN_FAILURES])
    return f"{shown} And {len(failed) - SHOWN_FAILURES} more." if len(failed) > SHOWN_FAILURES else shown


SHOWN_FAILURES = 20

type FileValues = RawFiles | ValidatedFiles | HashedFiles

_KINDS = {kind.__name__: kind for kind in (RawFiles, ValidatedFiles, HashedFiles)}


def to_json(value: FileValues) -> bytes:
    """Return `value` as JSON for `from_json`."""
    kind = type(value).__name__.encode()
    return b'{"' + kind + b'":' + TypeAdapter(type(value)).dump_json(value) + b"}"


def from_json(data: bytes) -> FileValues:
    """Return the value that `to_json` wrote.

    Raises:
        ValidationError: an earlier release wrote it in another form.
    """
    ((kind, content),) = json.loads(data).items()
    adapter: TypeAdapter[FileValues] = TypeAdapter(_KINDS[kind])
    return adapter.validate_python(content)
