"""The platform's configuration: `data/pipeline_config.yaml` as frozen models.

This module defines the keys, their defaults and the rules between keys. Secrets come only from environment variables.
The README section 'Configuration' describes every key.
"""

import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from txn_assets.environment import HASH_KEY, PG_PASSWORD, ConfigError, bucket_name, config_path
from txn_assets.feeds.own_defs import read_sections
from txn_assets.feeds.section import DATES, PREFIXES, FeedName, FeedSection, FileSettings, Identifier, Prefix, Section
from txn_assets.feeds.transaction import CONTRACT, ValidationRules

SECRET_VARIABLES = {"password": PG_PASSWORD, "key": HASH_KEY, "hash_key": HASH_KEY}
"""Keys that look like secrets, and the environment variable to set instead."""


class Pipeline(Section):
    """Name and version of the deployment, for readers of the file. The platform does not use them."""

    name: str
    version: str


def _refuse_nested(prefixes: Mapping[str, str]) -> None:
    # A prefix inside the landing zone would feed the platform its own output.
    for key, prefix in prefixes.items():
        for other, other_prefix in prefixes.items():
            if key != other and f"{other_prefix}/".startswith(f"{prefix}/"):
                message = f"{other} is inside {key}: give each its own prefix"
                raise ValueError(message)


def _refuse_shared(tables: Mapping[str, str]) -> None:
    # The ledger of a table is `<table>_loads`, so that name is taken too.
    taken: dict[str, str] = {}
    for key, table in tables.items():
        for name in (table.casefold(), f"{table}_loads".casefold()):
            if name in taken:
                message = f"{key} and {taken[name]} share the table {table}: give each feed its own"
                raise ValueError(message)
            taken[name] = key


class DataLake(Section):
    """The bucket and its prefixes. Objects land below `landing`; the platform writes everything else."""

    gcs_bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")]
    path: Prefix
    landing: Prefix = "landing/transactions"
    landing_dates: Annotated[str, StringConstraints(pattern=DATES)] | None = None
    landing_late_days: Annotated[int, Field(ge=1, le=366)] = 3
    quarantine: Prefix = "quarantine/transactions"
    staging: Prefix = "staging/transactions"
    format: Literal["csv", "parquet"] = "csv"

    @model_validator(mode="after")
    def _prefixes_are_separate(self) -> Self:
        _refuse_nested({f"data_lake.{name}": getattr(self, name) for name in PREFIXES})
        return self


class Postgres(Section):
    """How to reach PostgreSQL. The local target uses host, port, user and password of its embedded server instead."""

    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    dbname: str = "transactions"
    user: str = "transactions"
    schema_: Annotated[Identifier, Field(alias="schema")] = "public"
    # PostgreSQL allows 63 characters, and the name of the ledger, <table>_loads, is six longer.
    table: Annotated[Identifier, StringConstraints(max_length=57)] = "transactions"
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = None


class DataWarehouse(Section):
    """The BigQuery table and the PostgreSQL table."""

    project_id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
    dataset: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,1024}$")]
    table: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,1000}$")]
    location: str = "US"
    partition_by: Literal["month", "day"] = "month"
    maximum_bytes_billed: Annotated[int, Field(ge=1)] | None = None
    postgres: Postgres = Postgres()


class DataMart(Section):
    """Accepted but not used yet, because the marts come later."""

    dataset: str
    table: str


class Ingestion(FileSettings):
    """How files are read and which rows are valid."""

    fastapi_endpoint: str = "/upload/transactions"
    validation: ValidationRules = ValidationRules()

    @model_validator(mode="after")
    def _format_names_fields(self) -> Self:
        if faults := self.format.faults(CONTRACT.names, optional=CONTRACT.optional):
            message = f"ingestion.{faults[0]}"
            raise ValueError(message)
        return self


class Transformation(Section):
    """Accepted but not used yet, because the dbt models come later."""

    dbt_project: str
    models: tuple[str, ...]


class Orchestration(Section):
    """When the daily sweep runs, how many files it loads again, and when a file counts as stuck.

    `airflow_dag` is accepted but not used, because Dagster replaces it.
    """

    airflow_dag: str | None = None
    schedule: Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")] = "0 0 * * *"
    reload_limit: Annotated[int, Field(ge=0)] = 100
    stuck_after_minutes: Annotated[int, Field(ge=1)] = 60


class Retention(Section):
    """How many days to keep finished work. The ledgers are kept forever."""

    staging_days: Annotated[int, Field(ge=1)] = 7
    partition_days: Annotated[int, Field(ge=1)] = 400


class Hash(Section):
    """How PII is hashed. `key_id` names the key in the ledger, so that a rotation is visible. The key is secret."""

    algorithm: Literal["sha256", "hmac-sha256"] = "sha256"
    key_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "none"


class Security(Section):
    """Which fields are hashed, and how connections are secured."""

    pii_fields: tuple[str, ...] = ("transaction_id",)
    encryption: Literal["tls", "none"] = "tls"
    authentication: str = "oauth2"
    hash: Hash = Hash()

    @model_validator(mode="after")
    def _pii_fields_are_text(self) -> Self:
        try:
            CONTRACT.with_pii(self.pii_fields)
        except TypeError as error:
            message = f"security.pii_fields: {error}"
            raise ValueError(message) from error
        return self


class Resources(Section):
    """Checked against helm-values/ by `make deploy-check`; the chart sets them."""

    cpu: str = "1"
    memory: str = "2Gi"


class Kubernetes(Section):
    """Checked against helm-values/ by `make deploy-check`; the chart sets them."""

    namespace: str = "data-pipeline"
    helm_chart: str = "transaction-pipeline"
    resources: Resources = Resources()


class PipelineConfig(Section):
    """The whole configuration file."""

    pipeline: Pipeline
    data_lake: DataLake
    data_warehouse: DataWarehouse
    feeds: dict[FeedName, FeedSection] = Field(default_factory=dict)
    data_mart: DataMart | None = None
    ingestion: Ingestion = Ingestion()
    transformation: Transformation | None = None
    orchestration: Orchestration = Orchestration()
    retention: Retention = Retention()
    security: Security = Security()
    kubernetes: Kubernetes = Kubernetes()

    @field_validator("feeds")
    @classmethod
    def _feeds_can_be_used(cls, feeds: dict[str, FeedSection]) -> dict[str, FeedSection]:
        if "transactions" in feeds:
            message = "feeds.transactions: the sections data_lake, data_warehouse and ingestion configure this feed"
            raise ValueError(message)
        for name, section in feeds.items():
            try:
                section.contract(name)
            except ValueError as error:
                message = f"feeds.{name}: {error}"
                raise ValueError(message) from error
        return {name: section.named(name) for name, section in feeds.items()}

    @model_validator(mode="after")
    def _feeds_do_not_meet(self) -> Self:
        prefixes = {f"data_lake.{key}": getattr(self.data_lake, key) for key in PREFIXES}
        prefixes |= {f"feeds.{name}.{key}": getattr(one, key) for name, one in self.feeds.items() for key in PREFIXES}
        _refuse_nested(prefixes)
        tables = {"data_warehouse.table": self.data_warehouse.table}
        tables |= {f"feeds.{name}.table": str(one.table) for name, one in self.feeds.items()}
        _refuse_shared(tables)
        tables = {"data_warehouse.postgres.table": self.data_warehouse.postgres.table}
        tables |= {f"feeds.{name}.postgres_table": str(one.postgres_table) for name, one in self.feeds.items()}
        _refuse_shared(tables)
        return self

    def __hash__(self) -> int:
        # Not of everything: feeds have sections that cannot be hashed, and the JSON of a set has no fixed order.
        return hash((self.data_lake, self.data_warehouse, tuple(self.feeds)))

    def with_feed(self, name: str, section: FeedSection) -> "PipelineConfig":
        """Return this configuration with the feed `name`, if it does not have it.

        Raises:
            ValidationError: the feed cannot be used, or shares a prefix or a table with another one.
        """
        if name in self.feeds:
            return self
        content = self.model_dump(by_alias=True)
        content["feeds"][name] = section.model_dump(by_alias=True, exclude_unset=True)
        return PipelineConfig.model_validate(content)


def load_config(path: Path | None = None) -> PipelineConfig:
    """Load the configuration from `path`, else from the file that TXN_CONFIG names, else from the project's own file.

    The environment variable BUCKET_NAME overrides `data_lake.gcs_bucket`.

    Raises:
        ConfigError: the file is missing, is not YAML, or has faults; the message lists all of them.
    """
    path = path or config_path()
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        message = f"Cannot read the configuration {path}: {error.strerror}. Set TXN_CONFIG to the file to use."
        raise ConfigError(message) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not UTF-8 text"
        message = f"{path}{place} is not valid YAML: {problem}."
        raise ConfigError(message) from error
    if not isinstance(content, dict):
        message = f"{path} has no configuration: it must be a mapping with sections such as 'data_lake'."
        raise ConfigError(message)
    if (bucket := bucket_name()) and isinstance(content.get("data_lake"), dict):
        content["data_lake"]["gcs_bucket"] = bucket
    own = read_sections()
    feeds = content.get("feeds") or {}
    if own and isinstance(feeds, dict):
        if twice := [name for name in own if name in feeds]:
            message = f"{path} and {own[twice[0]][0]} both describe the feed {twice[0]!r}: keep one of them."
            raise ConfigError(message)
        content["feeds"] = feeds | {name: section for name, (_, section) in own.items()}
    sources = " with ".join(map(str, (path, *(file for file, _ in own.values()))))
    try:
        return PipelineConfig.model_validate(content)
    except ValidationError as error:
        faults = "\n".join(f"  - {line}" for line in _faults(error.errors(include_url=False)))
        message = f"{sources} cannot be used:\n{faults}"
        raise ConfigError(message) from error


_MERGE_TAG = "tag:yaml.org,2002:merge"


class _UniqueKeyLoader(yaml.SafeLoader):
    """A YAML loader that rejects duplicate keys in a mapping. In YAML's default loaders, the last one silently wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the base class's signature
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE_TAG:
                # The base class merges the value of `<<`, and rejects a mapping or a list as a key.
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                problem = f"the key {key!r} appears twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _faults(errors: Iterable[ErrorDetails]) -> Iterable[str]:
    for error in errors:
        key = ".".join(str(part) for part in error["loc"])
        if error["type"] == "extra_forbidden":
            yield _unknown_key(error["loc"])
        elif error["type"] == "missing":
            yield f"{key} is missing"
        elif error["type"] == "value_error":
            yield str(error["ctx"]["error"])
        else:
            # A value given instead of a section may be a URL with a password in it.
            hidden = error["type"] == "model_type" or isinstance(error["input"], dict)
            shown = "" if hidden else f", not {error['input']!r}"
            yield f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}{shown}"


def _unknown_key(location: tuple[int | str, ...]) -> str:
    *parents, key = (str(part) for part in location)
    name = ".".join([*parents, key])
    if key.lower() in SECRET_VARIABLES:
        variable = SECRET_VARIABLES[key.lower()]
        return f"{name} is a secret. Set it with the environment variable {variable} instead"
    known = sorted(_known_keys(parents))
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
    return f"{name} is not a known key; {hint}"


def _known_keys(parents: Iterable[str]) -> set[str]:
    model: Any = PipelineConfig
    for parent in parents:
        if typing.get_origin(model) is dict:
            # Any name is allowed as a key, and all sections have the same keys.
            candidates: tuple[Any, ...] = typing.get_args(model)[1:]
        else:
            field = next(f for name, f in model.model_fields.items() if (f.alias or name) == parent)
            candidates = (field.annotation, *typing.get_args(field.annotation))
        model = next(c for c in candidates if typing.get_origin(c) is dict or _is_section(c))
    return {field.alias or name for name, field in model.model_fields.items()}


def _is_section(candidate: object) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)
