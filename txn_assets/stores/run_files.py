"""Local files of a run: the valid rows and the hashed rows of each landed file."""

import datetime as dt
import hashlib
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import pyarrow as pa
from google.api_core.exceptions import NotFound

from txn_assets.environment import HASH_KEY_PREVIOUS, ConfigError
from txn_assets.feeds.feed import Feed
from txn_assets.files import scratch_space
from txn_assets.files.core_dumps import forbid_core_dumps
from txn_assets.files.erasures import ErasureRequest, ErasureRequests
from txn_assets.files.ledger import FileVersion, LoadDetails
from txn_assets.files.report import ValidationReport
from txn_assets.files.retention import landed_at
from txn_assets.files.run_folder import RunFolder, written_whole
from txn_assets.files.values import HashedFile, ValidatedFile
from txn_assets.rows import erasing, hashed_rows, overview, processing
from txn_assets.rows.hashing import Hasher, HashKeys
from txn_assets.rows.reader import compression
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets.rows.reading import Reading
from txn_assets.rows.rejects import write_rejects
from txn_assets.sections.security import Security
from txn_assets.stores.clients import Clients
from txn_assets.stores.erasures import ErasureRegister
from txn_assets.stores.errors import LandedFileError, StoreError, UnusableFileError
from txn_assets.stores.landing.zone import LandingZone
from txn_assets.stores.scratch import open_scratch

MAX_PARTITIONS = 4000
"""Maximum number of partitions per BigQuery job: https://cloud.google.com/bigquery/quotas#partitioned_tables"""


@dataclass(kw_only=True)
class RunFiles:
    """Local files of a run, including clear text; created on demand and removed by `close`.

    A run that continues on another machine starts without them: it rebuilds the clear text from the landing zone, at
    the pinned generation, and fetches the hashed rows from staging.

    Attributes:
        home: folder to create the files in.
        scratch_limit: maximum bytes of the files; None if only the disk limits them.
        hash_keys: keys for hmac-sha256.
        partition_by: how BigQuery partitions the rows, `month` or `day`.
    """

    clients: Clients
    landing: LandingZone
    erasures: ErasureRegister
    feed: Feed
    security: Security
    home: Path
    scratch_limit: int | None = None
    hash_keys: HashKeys = field(default=HashKeys(), repr=False)
    partition_by: str = "month"

    _unpacked: dict[FileVersion, int] = field(default_factory=dict, init=False)
    _open: ExitStack = field(default_factory=ExitStack, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)
    """Guards the files, because the stores are loaded from them in parallel."""

    def __post_init__(self) -> None:
        """Prepare this process for clear text."""
        forbid_core_dumps()

    def close(self) -> None:
        """Remove the files."""
        self._open.close()

    @cached_property
    def hashers(self) -> tuple[Hasher, ...]:
        """Hashers of the PII fields of the feed: with the current key and, during a rotation, with the previous one.

        Raises:
            ConfigError: a key is missing, too short or has no name, or both are the same or have the same name.
        """
        return self.security.hash.hashers(self.feed.pii_fields, self.hash_keys)

    @property
    def hasher(self) -> Hasher:
        """Hasher with the current key; see `hashers`."""
        return self.hashers[0]

    @cached_property
    def erasure_requests(self) -> ErasureRequests:
        """The erasure requests of the feed as this run began: what comes later, the stores notice.

        Raises:
            ConfigError: rows of a request cannot be told from others, because its key is not alive.
            ErasureError: the register of the requests is damaged.
        """
        requests = self.erasures.read()
        alive = {hasher.key_id for hasher in self.hashers}
        for request in requests.in_force:
            if not alive & set(request.digests) or request.field not in self.feed.pii_fields:
                raise ConfigError(_not_found_again(request))
        return requests

    @property
    def _erased(self) -> erasing.Erased:
        """The hashes of the persons to leave out, under the current key or, where that is missing, an older one."""
        current, *older = self.hashers
        rest = self.erasure_requests.without(current.key_id)
        found = [(current, self.erasure_requests.digests(current.key_id))]
        found += [(hasher, rest.digests(hasher.key_id)) for hasher in older]
        return [(hasher, digests) for hasher, digests in found if digests]

    def _erased_in(self, valid: Path) -> dict[str, set[str]]:
        """Return the hashes under the current key of the persons to leave out, by field.

        A person of whom only older hashes are known is looked for in the rows of `valid`; the request of one who is
        found gets the current hash.
        """
        for hasher, digests in self._erased:
            if hasher.key_id == self.hasher.key_id:
                continue
            known = erasing.rehash(valid, digests, old=hasher, new=self.hasher)
            if known:
                extend = partial(ErasureRequests.extending, key_id=self.hasher.key_id, known=known, under=hasher.key_id)
                # Without requests that came meanwhile: rejected rows of those persons may be in the quarantine.
                self.erasure_requests = self.erasures.update(extend).up_to(self.erasure_requests.last)
        return self.erasure_requests.digests(self.hasher.key_id)

    @cached_property
    def reading(self) -> Reading:
        """How the files of the feed are read."""
        return self.feed.reading(dt.datetime.now(dt.UTC).date())

    @cached_property
    def _scratch(self) -> Path:
        return self._open.enter_context(open_scratch(self.home))

    @cached_property
    def _available(self) -> int:
        return scratch_space.capacity(self._scratch, self.scratch_limit)

    def folder(self, version: FileVersion) -> RunFolder:
        """Return the folder of one file version, creating it if needed."""
        with self._lock:
            folder = self._scratch / hashlib.sha256(str(version).encode()).hexdigest()[:16]
            folder.mkdir(mode=0o700, exist_ok=True)
        return RunFolder(folder)

    def workspace(self) -> Path:
        """Return a new folder for the objects that persons are removed from."""
        return Path(tempfile.mkdtemp(prefix="erasing-", dir=self._scratch))

    def read_header(self, version: FileVersion) -> tuple[str, ...]:
        """Return the columns of `version`; see `processing.read_header`.

        Raises:
            UnreadableFileError: the file cannot be read as rows of the feed.
            LandedFileError: the landed file is gone.
        """
        if version.size > self.feed.limits.file_bytes:
            raise UnreadableFileError(compression.too_large(self.feed.limits))
        with self.landing.open(version) as stream:
            return processing.read_header(stream, self.reading)

    def validate_file(self, version: FileVersion) -> ValidationReport:
        """Validate `version` and write its valid rows into its folder; see `processing.validate_file`.

        Raises:
            UnreadableFileError: the file cannot be read as rows of the feed.
            UnusableFileError: the scratch space is too small for the file.
            LandedFileError: the landed file is gone, or was damaged in transit.
        """
        room = self._reserve(version)
        # The estimate may be wrong: a hostile file begins harmlessly.
        reading = replace(self.reading, limits=self.feed.limits.within(room))
        with self.landing.open(version) as stream:
            return processing.validate_file(
                stream, self.folder(version), reading=reading, hasher=self.hasher, erased=self._erased
            )

    def refuse_new_requests(self, version: FileVersion) -> None:
        """Refuse to go on with `version` if somebody was erased since this run read the requests.

        Raises:
            LandedFileError: the rejected rows in the quarantine may be those of that person.
        """
        if self.erasures.read().last > self.erasure_requests.last:
            message = f"Somebody was erased while {version} was validated. Materialize it again."
            raise LandedFileError(message)

    def _reserve(self, version: FileVersion) -> int:
        """Reserve scratch space for `version`, and return how many unpacked bytes there is room for."""
        unpacked = version.size
        # Read the head only if the file might not fit: small files are not worth a request.
        most = compression.max_expansion(version.name) * version.size
        if scratch_space.SCRATCH_FACTOR * most > self._available:
            unpacked = compression.unpacked_size(version.size, self.landing.head(version, compression.HEAD_BYTES))
        before = sum(size for other, size in self._unpacked.items() if other != version)
        if message := scratch_space.refusal(version.name, unpacked=unpacked, before=before, available=self._available):
            raise UnusableFileError(message)
        self._unpacked[version] = unpacked
        return int(self._available / scratch_space.SCRATCH_FACTOR) - before

    def valid_rows(self, file: ValidatedFile) -> Path:
        """Return the path of the Arrow stream with the valid rows of `file`, in clear text."""
        path = self.folder(file.version).valid
        if not path.exists():
            self.validate_file(file.version)
        return path

    def drop_clear_text(self, version: FileVersion) -> None:
        """Remove the clear text of `version`."""
        self.folder(version).valid.unlink(missing_ok=True)

    def hash_file(self, file: ValidatedFile) -> HashedFile:
        """Hash the valid rows of `file` and write them into its folder.

        Raises:
            UnusableFileError: the rows span more partitions than BigQuery writes in one job.
        """
        started = time.monotonic()
        path = self.folder(file.version).hashed
        contract = self.feed.contract
        valid = self.valid_rows(file)
        erased = self._erased_in(valid)
        processing.hash_file(valid, path, file=file.version, names=contract.names, hasher=self.hasher, erased=erased)
        if file.report.rejected:
            folder = self.folder(file.version)
            write_rejects(folder.reasons, folder.rejects, file=file.version)
        partitions = hashed_rows.count_partitions(path, contract, partition_by=self.partition_by)
        if partitions > MAX_PARTITIONS:
            message = (
                f"{file.version.name} has rows in {partitions:,} {self.partition_by}s, but BigQuery writes at most "
                f"{MAX_PARTITIONS:,} partitions in one job: check its dates, split it by date, or set "
                "data_warehouse.partition_by to month. No store was changed."
            )
            raise UnusableFileError(message)
        totals, lake_fingerprint = hashed_rows.totals(path, contract)
        malformed_digests = hashed_rows.malformed_digests(path, pii_fields=self.hasher.pii_fields)
        return HashedFile(
            version=file.version,
            rules_id=file.rules_id,
            key_id=self.hasher.key_id,
            totals=totals,
            lake_fingerprint=lake_fingerprint,
            malformed_digests=malformed_digests,
            details=_details(file, rows=totals.rows, hash_seconds=time.monotonic() - started),
            erasures=self.erasure_requests.last,
        )

    def hashed_rows(self, file: HashedFile) -> Path:
        """Return the path of the Parquet file with the hashed rows of `file`; fetch it from staging if needed."""
        return self._fetched(self.folder(file.version).hashed, file.uri)

    def rejects(self, file: HashedFile) -> Path | None:
        """Return the path of the Parquet file that says why rows were rejected; None if none was."""
        return self._fetched(self.folder(file.version).rejects, file.rejects_uri) if file.rejected else None

    def _fetched(self, path: Path, uri: str) -> Path:
        with self._lock:
            if not path.exists():
                bucket, _, name = uri.removeprefix("gs://").partition("/")
                try:
                    with written_whole(path) as part:
                        self.clients.storage.bucket(bucket).blob(name).download_to_filename(part)
                except NotFound as error:
                    message = (
                        f"The staged rows at {uri} are gone: they were old, or had a person who was erased. "
                        f"Materialize hashed_{self.feed.name} again."
                    )
                    raise StoreError(message) from error
        return path

    def first_rows(self, file: HashedFile) -> list[dict[str, str | None]]:
        """Return the first hashed rows of `file`; see `overview.first_rows`."""
        return overview.first_rows(self.hashed_rows(file), self.feed.contract)

    def by_day(self, file: HashedFile) -> list[overview.Day]:
        """Return rows and amounts of `file` by day; see `overview.by_day`."""
        return overview.by_day(self.hashed_rows(file), self.feed.contract, self.feed.amount)

    def read_valid(self, files: Sequence[ValidatedFile]) -> pa.RecordBatchReader:
        """Return the valid rows of `files`, in clear text."""
        return hashed_rows.read_valid([self.valid_rows(file) for file in files], self.feed.contract)

    def read_hashed(self, files: Sequence[HashedFile]) -> pa.RecordBatchReader:
        """Return the hashed rows of `files`."""
        return hashed_rows.read([self.hashed_rows(file) for file in files], self.feed.contract)


def _not_found_again(request: ErasureRequest) -> str:
    """Return the message for a request whose rows cannot be told from others with the keys and fields of now."""
    keys = " or ".join(sorted(request.digests))
    return (
        f"The erasure request {request.id} knows the hash of a {request.field} under the key {keys}, and this "
        f"configuration hashes no {request.field} with it, so the rows would come back. Name the key in "
        f"security.hash.previous and set {HASH_KEY_PREVIOUS}, keep {request.field} among the PII fields, or withdraw "
        f"the request with `txn erase withdraw {request.id}`."
    )


def _details(file: ValidatedFile, *, rows: int, hash_seconds: float) -> LoadDetails | None:
    """Return what is known about `file`, of which `rows` were hashed; None if an earlier release validated it."""
    if file.started_at is None:
        return None
    return LoadDetails(
        records=file.report.records,
        rejected=file.report.rejected,
        reasons=file.report.reasons,
        landed_at=landed_at(file.version.generation),
        started_at=file.started_at,
        seconds={"validate": round(file.seconds, 3), "hash": round(hash_seconds, 3)},
        erased=file.report.erased + file.report.valid - rows,
    )
