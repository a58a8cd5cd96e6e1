"""The Dagster resources: store clients, the landing zone, the quarantine and the files of a run.

Assets, checks, sensors and I/O managers share them; loading into a store is in `io_managers/`. Client libraries are
imported inside the functions that use them, to keep loading the code location fast. See docs/architecture.md.
"""

import atexit
import contextlib
import datetime as dt
import functools
import hashlib
import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import dagster as dg
from pydantic import Field, PrivateAttr

from txn_assets.config import Ingestion, PipelineConfig, Security, load_config
from txn_assets.environment import HASH_KEY, PG_PASSWORD, scratch_limit, txn_home, txn_target
from txn_assets.files import scratch_space
from txn_assets.files.checksums import Checksum
from txn_assets.files.ledger import FileVersion
from txn_assets.rows.hashing import Hasher, make_hasher
from txn_assets.stores.landed_names import MAX_OBJECT_NAME_BYTES, name_limit
from txn_assets.stores.scratch import open_scratch

if TYPE_CHECKING:
    import psycopg
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.bigquery import Client as BigQueryClient
    from google.cloud.storage import Blob
    from google.cloud.storage import Client as StorageClient

    from txn_assets.files.report import ValidationReport
    from txn_assets.files.values import HashedFile, ValidatedFile
    from txn_assets.local.endpoints import Endpoints

READ_CHUNK_BYTES = 16 << 20
"""Bytes of a landed object read per request, and so the most that a lost connection costs."""

_FETCHING = threading.Lock()
"""Lock around fetching hashed rows: the I/O managers load in parallel, each with its own `RunFiles` in one folder."""


class LandedFileError(Exception):
    """A landed file cannot be used; the message names it and says what to do."""


class Clients(dg.ConfigurableResource["Clients"]):
    """Clients of the three stores, on the local target or on Google Cloud.

    On the local target, the first client starts the embedded servers.
    """

    target: str = Field(description="'local' (embedded servers) or 'gcp'.")
    project_id: str = Field(description="The Google Cloud project.")
    location: str = Field(description="Where BigQuery keeps the dataset and runs the jobs.")
    postgres_host: str = Field(description="Unused on the local target, like the five settings below.")
    postgres_port: int
    postgres_dbname: str
    postgres_user: str
    postgres_password: str
    postgres_sslmode: str
    lock_seconds: float = Field(
        default=60.0,
        description="So long PostgreSQL lets a statement wait for a lock, and a transaction idle that holds one.",
    )
    request_seconds: float = Field(default=60.0, description="After so long a request of a sink is given up.")

    statement_seconds: float = Field(default=600.0, description="After so long a silence of PostgreSQL is given up.")

    _storage: "StorageClient | None" = PrivateAttr(default=None)
    _bigquery: "BigQueryClient | None" = PrivateAttr(default=None)

    def local_endpoints(self) -> "Endpoints":
        """Return the addresses of the embedded servers, starting them if needed."""
        return _local_endpoints()

    def storage(self) -> "StorageClient":
        """Return the Google Cloud Storage client, the same one each time because it keeps its connections open."""
        self._storage = self._storage or self._make_storage()
        return self._storage

    def bigquery(self) -> "BigQueryClient":
        """Return the BigQuery client, the same one each time."""
        self._bigquery = self._bigquery or self._make_bigquery()
        return self._bigquery

    def _make_storage(self) -> "StorageClient":
        from google.cloud import storage  # noqa: PLC0415 - see the module docstring

        if self.target == "gcp":
            return storage.Client(project=self.project_id)
        return storage.Client(
            project=self.project_id,
            credentials=_anonymous(),
            client_options={"api_endpoint": self.local_endpoints().gcs_url},
        )

    def _make_bigquery(self) -> "BigQueryClient":
        from google.cloud import bigquery  # noqa: PLC0415 - see the module docstring

        if self.target == "gcp":
            return bigquery.Client(project=self.project_id, location=self.location)
        return bigquery.Client(
            project=self.project_id,
            location=self.location,
            credentials=_anonymous(),
            client_options={"api_endpoint": self.local_endpoints().bigquery_url},
        )

    def postgres(self) -> "psycopg.Connection[Any]":
        """Open a new connection to PostgreSQL."""
        from txn_assets.stores.postgres_connection import connect  # noqa: PLC0415 - see the module docstring

        # Both ends notice within a minute that the other is gone, so no lock of a dead run outlives the retry budget.
        settings: dict[str, Any] = {
            "connect_timeout": 10,
            "application_name": "txn_assets",
            # Rows are sent as UTF-8, whatever the database encoding.
            "client_encoding": "utf8",
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
            "options": " ".join(
                f"-c {name}={value}"
                for name, value in {
                    "lock_timeout": f"{self.lock_seconds:.0f}s",
                    "idle_in_transaction_session_timeout": f"{self.lock_seconds:.0f}s",
                    "tcp_keepalives_idle": 20,
                    "tcp_keepalives_interval": 10,
                    "tcp_keepalives_count": 3,
                    "tcp_user_timeout": 60_000,
                }.items()
            ),
        }
        if self.target == "gcp":
            return connect(
                self.statement_seconds,
                host=self.postgres_host,
                port=self.postgres_port,
                dbname=self.postgres_dbname,
                user=self.postgres_user,
                password=self.postgres_password,
                sslmode=self.postgres_sslmode,
                **settings,
            )
        local = self.local_endpoints()
        return connect(
            self.statement_seconds,
            host=local.postgres_host,
            port=local.postgres_port,
            dbname=local.postgres_dbname,
            user=local.postgres_user,
            password=local.postgres_password,
            **settings,
        )


class LandingZone(dg.ConfigurableResource["LandingZone"]):
    """The prefix of the bucket where transaction files land."""

    clients: dg.ResourceDependency[Clients]
    bucket: str = Field(description="Name of the bucket.")
    prefix: str = Field(description="Objects land below this prefix.")
    dates: str = Field(default="", description="What names begin with, as strftime writes a date; '' for any name.")
    late_days: int = Field(default=0, description="So long after its date an object may still land.")
    max_name_bytes: int = Field(
        default=MAX_OBJECT_NAME_BYTES,
        description="A longer name does not fit into the names of the objects made from it.",
    )

    def latest(self, name: str) -> FileVersion | None:
        """Return the current version of the landed file `name`, or None if there is none."""
        blob = self.clients.storage().bucket(self.bucket).get_blob(f"{self.prefix}/{name}")
        if blob is None:
            return None
        return FileVersion(name, int(blob.generation), int(blob.size), str(blob.crc32c))

    @property
    def address(self) -> str:
        """The gs:// address of the landing zone."""
        return f"gs://{self.bucket}/{self.prefix}/"

    def first_new(self, now: dt.datetime) -> str:
        """Return the first name that can be new at `now` if names begin with a date, else ''."""
        return (now - dt.timedelta(days=self.late_days)).strftime(self.dates) if self.dates else ""

    def versions(self, *, start: str = "") -> Iterator[FileVersion]:
        """Yield the current version of each object from the name `start` on, in name order, 1,000 per request."""
        blobs = self.clients.storage().list_blobs(
            self.bucket,
            prefix=f"{self.prefix}/",
            start_offset=f"{self.prefix}/{start}",
            page_size=1000,
            fields="items(name,generation,size,crc32c),nextPageToken",
        )
        for blob in blobs:
            name = blob.name.removeprefix(f"{self.prefix}/")
            yield FileVersion(name, int(blob.generation), int(blob.size or 0), str(blob.crc32c))

    def upload(self, path: Path, name: str) -> FileVersion:
        """Upload the file at `path` as `name` and return its version."""
        blob = self.clients.storage().bucket(self.bucket).blob(f"{self.prefix}/{name}")
        blob.upload_from_filename(str(path), content_type="text/csv", checksum="crc32c")
        return FileVersion(name, int(blob.generation), int(blob.size), str(blob.crc32c))

    def not_landed(self, name: str) -> str:
        """Return the message for a file that has not landed."""
        return (
            f"No file {name!r} has landed in {self.address}: "
            f"upload it there first, or check the name (the partition key is the object's name below that prefix)."
        )

    def head(self, version: FileVersion, size: int) -> bytes:
        """Return the first `size` bytes of exactly `version`, or b"" if it is gone; `open` reports that."""
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - see the module docstring

        blob = self._blob(version)
        try:
            return bytes(blob.download_as_bytes(start=0, end=size - 1, raw_download=True, checksum=None))
        except NotFound:
            return b""

    def _blob(self, version: FileVersion) -> "Blob":
        bucket = self.clients.storage().bucket(self.bucket)
        return bucket.blob(f"{self.prefix}/{version.name}", generation=version.generation)

    @contextmanager
    def open(self, version: FileVersion) -> Iterator[BinaryIO]:
        """Open exactly `version` for reading; its crc32c is checked once all bytes have been read.

        Raises:
            LandedFileError: the version is gone, or the bytes that arrived differ from those stored.
        """
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - see the module docstring

        blob = self._blob(version)
        try:
            # Raw: the checksum covers the stored bytes, so an object with content-encoding gzip must stay compressed.
            if version.size <= READ_CHUNK_BYTES:
                # A single request: a chunked reader makes one more for the size and one more past the end.
                stream: BinaryIO = io.BytesIO(blob.download_as_bytes(raw_download=True, checksum=None))
            else:
                stream = blob.open("rb", chunk_size=READ_CHUNK_BYTES, raw_download=True)
            with stream:
                yield _Checksummed(stream, version)  # type: ignore[misc]  # has the part of BinaryIO that readers use
        except NotFound as error:
            message = f"{version} is gone from the landing zone: it was overwritten or deleted. Load the newer version."
            raise LandedFileError(message) from error


class Quarantine(dg.ConfigurableResource["Quarantine"]):
    """The prefix of the bucket with the rejected rows of each file."""

    clients: dg.ResourceDependency[Clients]
    bucket: str = Field(description="Name of the bucket.")
    prefix: str = Field(description="Rejected rows are stored below this prefix.")

    def store(self, version: FileVersion, rejected: Path | None) -> str | None:
        """Store `rejected` as the quarantine of the file and return its address; if None, empty it."""
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - see the module docstring

        name = f"{self.prefix}/{version.name}/rejected.csv"
        blob = self.clients.storage().bucket(self.bucket).blob(name)
        if rejected is None:
            with contextlib.suppress(NotFound):
                blob.delete()
            return None
        blob.metadata = {"source_generation": str(version.generation)}
        blob.upload_from_filename(str(rejected), content_type="text/csv", checksum="crc32c")
        return f"gs://{self.bucket}/{name}"


class _Checksummed:
    """A stream of a landed file that verifies the checksum at the end."""

    def __init__(self, stream: BinaryIO, version: FileVersion) -> None:
        self._stream = stream
        self._version = version
        self._checksum = Checksum()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._checksum.update(data)
        if not data and size and self._checksum.base64() != self._version.crc32c:
            message = f"{self._version} arrived damaged, its crc32c differs: run this again."
            raise LandedFileError(message)
        return data


class RunFiles(dg.ConfigurableResource["RunFiles"]):
    """Local files of a run, including clear text; created on demand and removed when the run ends.

    A run that continues on another machine starts without them: it rebuilds the clear text from the landing zone, at
    the pinned generation, and fetches the hashed rows from staging.
    """

    clients: dg.ResourceDependency[Clients]
    landing: dg.ResourceDependency[LandingZone]
    ingestion: dict[str, Any] = Field(description="The section `ingestion` of the configuration.")
    security: dict[str, Any] = Field(description="The section `security` of the configuration.")
    hash_key: str | None = Field(default=None, description="The key of hmac-sha256.")
    scratch_limit: int | None = Field(default=None, description="Maximum bytes of a run's files below TXN_HOME.")
    partition_by: str = Field(default="month", description="How BigQuery partitions the rows: month or day.")

    _folder: Path = PrivateAttr()
    _run_id: str | None = PrivateAttr(default=None)
    _unpacked: dict[FileVersion, int] = PrivateAttr(default_factory=dict)
    _available: int = PrivateAttr()
    _today: dt.date = PrivateAttr(default_factory=lambda: dt.datetime.now(dt.UTC).date())

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Create the folder of the run."""
        self._run_id = context.run.run_id if context.run else None
        self._folder = _process_scratch(txn_home()) / (self._run_id or "no-run")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._available = scratch_space.capacity(self._folder, self.scratch_limit)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Remove the folder of the run, including clear text."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def run_id(self) -> str | None:
        """Id of the run that owns these files; None outside a run."""
        return self._run_id

    @property
    def settings(self) -> Ingestion:
        """Settings for reading files and validating rows."""
        return Ingestion.model_validate(self.ingestion)

    def hasher(self) -> Hasher:
        """Return the hasher of the deployment.

        Raises:
            ConfigError: the key is missing or too short.
        """
        return make_hasher(Security.model_validate(self.security), self.hash_key)

    def folder(self, version: FileVersion) -> Path:
        """Return the folder of one file version, creating it if needed."""
        folder = self._folder / hashlib.sha256(str(version).encode()).hexdigest()[:16]
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def validate_file(self, version: FileVersion) -> "ValidationReport":
        """Validate `version` from the landing zone into its folder; see `processing.validate_file`.

        Raises:
            Failure: the scratch space is too small for the file.
        """
        from txn_assets.rows.processing import validate_file  # noqa: PLC0415 - see the module docstring

        self._reserve(version)
        with self.landing.open(version) as stream:
            return validate_file(
                stream, self.folder(version), ingestion=self.settings, hasher=self.hasher(), today=self._today
            )

    def _reserve(self, version: FileVersion) -> None:
        unpacked = version.size
        # Read the head only if the file might not fit: small files are not worth a request.
        if scratch_space.SCRATCH_FACTOR * scratch_space.MAX_EXPANSION * version.size > self._available:
            unpacked = scratch_space.unpacked_size(version.size, self.landing.head(version, scratch_space.HEAD_BYTES))
        before = sum(size for other, size in self._unpacked.items() if other != version)
        if message := scratch_space.refusal(version.name, unpacked=unpacked, before=before, available=self._available):
            raise dg.Failure(message, allow_retries=False)
        self._unpacked[version] = unpacked

    def valid_rows(self, file: "ValidatedFile") -> Path:
        """Return the path of the Arrow stream with the valid rows of `file`, in clear text."""
        path = self.folder(file.version) / "valid.arrow"
        if not path.exists():
            self.validate_file(file.version)
        return path

    def drop_clear_text(self, version: FileVersion) -> None:
        """Remove the clear text of `version`."""
        (self.folder(version) / "valid.arrow").unlink(missing_ok=True)

    def hashed_rows(self, file: "HashedFile") -> Path:
        """Return the path of the Parquet file with the hashed rows of `file`."""
        path = self.folder(file.version) / "hashed.parquet"
        with _FETCHING:
            if not path.exists():
                part = path.with_suffix(".part")
                self.clients.storage().bucket(file.bucket).blob(file.object_name).download_to_filename(part)
                part.rename(path)
        return path


@functools.cache
def _process_scratch(home: Path) -> Path:
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(open_scratch(home))


def _anonymous() -> "AnonymousCredentials":
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415 - see the module docstring

    return AnonymousCredentials()  # type: ignore[no-untyped-call]  # untyped in google-auth


def _local_endpoints() -> "Endpoints":
    from txn_assets.local.endpoints import seed_from  # noqa: PLC0415 - the cluster has no embedded servers
    from txn_assets.local.stack import ensure_up  # noqa: PLC0415 - the cluster has no embedded servers

    return ensure_up(txn_home(), seed_from(load_config()))


def make_clients(config: PipelineConfig) -> Clients:
    """Return the store clients for `config` and the target in TXN_TARGET.

    Raises:
        ConfigError: TXN_TARGET is not a known target.
    """
    postgres = config.data_warehouse.postgres
    target = txn_target()
    return Clients(
        target=target,
        project_id=config.data_warehouse.project_id,
        location=config.data_warehouse.location,
        postgres_host=postgres.host,
        postgres_port=postgres.port,
        postgres_dbname=postgres.dbname,
        postgres_user=postgres.user,
        postgres_password=dg.EnvVar(PG_PASSWORD) if target == "gcp" else "",
        postgres_sslmode=postgres.sslmode or ("verify-full" if config.security.encryption == "tls" else "prefer"),
    )


def make_landing_zone(config: PipelineConfig, clients: Clients) -> LandingZone:
    """Return the landing zone for `config`."""
    lake = config.data_lake
    return LandingZone(
        clients=clients,
        bucket=lake.gcs_bucket,
        prefix=lake.landing,
        dates=lake.landing_dates or "",
        late_days=lake.landing_late_days,
        max_name_bytes=name_limit(lake),
    )


def make_run_files(config: PipelineConfig, clients: Clients, landing: LandingZone) -> RunFiles:
    """Return the `RunFiles` for the validation rules and the hash in `config`."""
    keyed = config.security.hash.algorithm == "hmac-sha256"
    return RunFiles(
        clients=clients,
        landing=landing,
        ingestion=config.ingestion.model_dump(mode="json"),
        security=config.security.model_dump(mode="json"),
        hash_key=dg.EnvVar(HASH_KEY) if keyed else None,
        scratch_limit=scratch_limit(),
        partition_by=config.data_warehouse.partition_by,
    )


def landing_zone() -> LandingZone:
    """Return the landing zone of the current configuration, for code that gets no resources from Dagster."""
    config = load_config()
    # Built without Dagster, which would create an instance for it. Safe because the bucket needs no secret.
    return make_landing_zone(config, make_clients(config))
