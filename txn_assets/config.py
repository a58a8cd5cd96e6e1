"""The platform's configuration: `data/pipeline_config.yaml` as frozen models.

This module defines the keys, their defaults and the rules between keys. Secrets come only from environment variables.
docs/reference/configuration.md, generated from the descriptions of the fields, lists every key.
"""

import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from txn_assets.environment import (
    ALERT_WEBHOOK,
    HASH_KEY,
    HASH_KEY_PREVIOUS,
    JWT_SECRET,
    PG_PASSWORD,
    SMTP_PASSWORD,
    ConfigError,
    bucket_name,
    config_path,
    find_secret,
)
from txn_assets.feeds.own_defs import read_sections
from txn_assets.feeds.section import PREFIXES, FeedName, FeedSection, Section
from txn_assets.rows.reader.limits import DEFAULT_LIMITS, FileLimits
from txn_assets.sections.alerts import Alerts
from txn_assets.sections.erasure import Erasure
from txn_assets.sections.ingestion import Ingestion
from txn_assets.sections.marts import DataMart, Transformation
from txn_assets.sections.operation import Kubernetes, Orchestration, Pipeline, Retention
from txn_assets.sections.security import Security
from txn_assets.sections.storage import DataLake, DataWarehouse, refuse_nested
from txn_assets.sections.upload import Upload

SECRET_VARIABLES = {
    "password": PG_PASSWORD,
    "key": HASH_KEY,
    "hash_key": HASH_KEY,
    "hash_key_previous": HASH_KEY_PREVIOUS,
    "security.hash.previous.key": HASH_KEY_PREVIOUS,
    "jwt_secret": JWT_SECRET,
    "webhook": ALERT_WEBHOOK,
    "alerts.smtp.password": SMTP_PASSWORD,
}
"""Keys that look like secrets, with their sections where these matter, and the environment variable to set instead."""

_MAX_SHOWN = 20
"""Length of a wrong value that a message repeats. Keys and passwords are longer."""


def _refuse_shared(tables: Mapping[str, str]) -> None:
    # The names of the tables beside it are taken too, and that of the view over the ledgers.
    taken = {"file_status": "the view file_status"}
    for key, table in tables.items():
        for name in (f"{table}{suffix}".casefold() for suffix in ("", "_loads", "_rejects", "_erasures")):
            if name in taken:
                message = f"{key} and {taken[name]} share the table {table}: give each feed its own"
                raise ValueError(message)
            taken[name] = key


class PipelineConfig(Section):
    """The whole configuration file."""

    pipeline: Pipeline
    data_lake: DataLake
    data_warehouse: DataWarehouse
    feeds: dict[FeedName, FeedSection] = Field(default_factory=dict)
    data_mart: DataMart = DataMart()
    ingestion: Ingestion = Ingestion()
    limits: FileLimits = DEFAULT_LIMITS
    upload: Upload = Upload()
    alerts: Alerts = Alerts()
    transformation: Transformation = Transformation()
    orchestration: Orchestration = Orchestration()
    retention: Retention = Retention()
    erasure: Erasure = Erasure()
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
        prefixes = {f"data_lake.{key}": getattr(self.data_lake, key) for key in (*PREFIXES, "marts")}
        prefixes["erasure.path"] = self.erasure.path
        prefixes |= {f"feeds.{name}.{key}": getattr(one, key) for name, one in self.feeds.items() for key in PREFIXES}
        refuse_nested(prefixes)
        if self.retention.archive_bucket == self.data_lake.gcs_bucket:
            message = "retention.archive_bucket is the bucket of the landing zone: name another one"
            raise ValueError(message)
        tables = {"data_warehouse.table": self.data_warehouse.table}
        tables |= {f"feeds.{name}.table": str(one.table) for name, one in self.feeds.items()}
        _refuse_shared(tables)
        tables = {"data_warehouse.postgres.table": self.data_warehouse.postgres.table}
        tables |= {f"feeds.{name}.postgres_table": str(one.postgres_table) for name, one in self.feeds.items()}
        _refuse_shared(tables)
        return self

    @model_validator(mode="after")
    def _expected_files_are_seen(self) -> Self:
        """Refuse a retention in which files leave the landing zone before the check `file_expected` counts them."""
        expected = {"orchestration.expected": self.orchestration.expected}
        expected |= {f"feeds.{name}.expected": one.expected for name, one in self.feeds.items()}
        for key, one in expected.items():
            days = one.days if one else 0
            if self.retention.landing_days is not None and self.retention.landing_days < days:
                message = (
                    f"retention.landing_days is {self.retention.landing_days}, but {key} looks for files of the last "
                    f"{days} days: set it to {days} or more"
                )
                raise ValueError(message)
        return self

    @property
    def max_upload_bytes(self) -> int:
        """Maximum size of an uploaded file. A larger one than the limits allow would be refused once it has landed."""
        return min(self.upload.max_bytes, self.limits.file_bytes)

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
        text = path.read_text(encoding="utf-8")
        _refuse_secrets(text, path)
        content = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
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


def _refuse_secrets(text: str, path: Path) -> None:
    """Raise a ConfigError if a line of the configuration has the value of a secret, under whatever key."""
    for number, line in enumerate(text.splitlines(), 1):
        if name := find_secret(line):
            message = (
                f"{path} line {number} has the value of {name}, which is a secret: remove it from the file, and use "
                f"a new value, because the file may have been copied."
            )
            raise ConfigError(message)


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
            # A value given instead of a section may be a URL with a password in it, and a long one may be a key.
            value = error["input"]
            hidden = error["type"] == "model_type" or isinstance(value, dict) or len(str(value)) > _MAX_SHOWN
            shown = "" if hidden else f", not {value!r}"
            yield f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}{shown}"


def _unknown_key(location: tuple[int | str, ...]) -> str:
    *parents, key = (str(part) for part in location)
    name = ".".join([*parents, key])
    if variable := SECRET_VARIABLES.get(name.lower()) or SECRET_VARIABLES.get(key.lower()):
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
