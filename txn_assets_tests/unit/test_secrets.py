"""Secrets stay in the environment: refused in the configuration, shown by no object, and in no definition or image."""

import gc
import traceback
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value
from pydantic import BaseModel

from txn_assets.config import SECRET_VARIABLES, PipelineConfig, load_config
from txn_assets.definitions import build
from txn_assets.environment import SECRETS, ConfigError, project_root
from txn_assets.feeds.configured import feeds_of
from txn_assets.local.endpoints import Endpoints
from txn_assets.target import find_access, open_services
from txn_assets.upload.auth import make_verifier
from txn_assets.watch.delivery import DeliveryError, Webhook
from txn_assets.watch.messages import Message

PLANTED = {name: f"planted-{name.lower()}-5e0c7f3a915e0c7f3a91" for name in SECRETS} | {
    "TXN_ALERT_WEBHOOK": "https://hooks.example.com/planted-5e0c7f3a91"
}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Set every secret, as on the gcp target; return their values by variable."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TXN_TARGET", "gcp")
    monkeypatch.setenv("TXN_HOME", str(tmp_path))
    return PLANTED


def found(text: str) -> set[str]:
    """Return the variables whose values are in a text."""
    return {name for name, value in PLANTED.items() if value in text}


def sections(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each section of the configuration; one that may have any name is called `refunds`."""
    yield path
    for name, field in model.model_fields.items():
        below = (*path, field.alias or name)
        candidates: list[Any] = [field.annotation]
        while candidates:
            one = candidates.pop()
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield from sections(one, below)
            elif getattr(one, "__origin__", None) is dict:
                below = (*below, "refunds")
                candidates.append(one.__args__[1])
            elif getattr(one, "__origin__", None) is tuple:
                below = (*below, "0")
                candidates.append(one.__args__[0])
            else:
                candidates += getattr(one, "__args__", ())


def test_secret_key_is_refused_in_every_section(tmp_path: Path) -> None:
    """A key for a secret is refused at every depth, with the variable to use and without its value."""
    paths = list(sections(PipelineConfig))
    assert {("data_warehouse", "postgres"), ("alerts", "smtp"), ("feeds", "refunds")} <= {*paths}
    shipped = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text())
    refused = [key for key in SECRET_VARIABLES if "." not in key]
    for path in paths:
        content = yaml.safe_load(yaml.safe_dump(shipped))
        section = content
        for name, below in pairwise((*path, "")):
            section[name] = [{}] if below == "0" else section.get(name, {})
            section = {"0": section[name][0]} if below == "0" else section[name]
        section |= dict.fromkeys(refused, "hunter2")
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(content))

        with pytest.raises(ConfigError) as caught:
            load_config(file)

        message = str(caught.value)
        missing = [key for key in refused if f"{'.'.join((*path, key))} is a secret. Set it" not in message]
        assert (path, missing) == (path, [])
        assert "hunter2" not in message


@pytest.mark.parametrize("line", ["# the old password: {}", "pipeline: {{name: '{}', version: 1.0.0}}", "{}: 1"])
def test_value_of_a_secret_is_refused_anywhere(planted: dict[str, str], tmp_path: Path, line: str) -> None:
    """The value of a secret is refused under any key, even in a comment, with its line and without the value."""
    file = tmp_path / "config.yaml"
    for name, value in planted.items():
        file.write_text(f"# first line\n{line.format(value)}\n")

        with pytest.raises(ConfigError) as caught:
            load_config(file)

        assert f"config.yaml line 2 has the value of {name}" in str(caught.value)
        assert found(str(caught.value)) == set()


def test_refused_value_is_not_repeated(tmp_path: Path) -> None:
    """A key in the place of its name, or a password in the place of a port, is refused without being repeated."""
    content = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text())
    key, password = "c2VjcmV0IGtleSBvZiAzMiBieXRlcyBpbiBiYXNlNjQ=", "correct horse battery staple"
    content["security"]["hash"] = {"key_id": key}
    content["data_warehouse"]["postgres"] = {"port": password}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))

    with pytest.raises(ConfigError) as caught:
        load_config(file)

    assert "security.hash.key_id" in str(caught.value)
    assert "data_warehouse.postgres.port" in str(caught.value)
    assert [secret for secret in (key, password) if secret in str(caught.value)] == []


@pytest.fixture
def config(planted: dict[str, str], tmp_path: Path) -> PipelineConfig:
    """Return a configuration that needs every secret."""
    content = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text())
    content |= {
        "alerts": {"smtp": {"host": "mail", "sender": "a@b", "recipients": ["c@d"], "user": "e"}},
        "security": {
            "hash": {"algorithm": "hmac-sha256", "key_id": "k2", "previous": {"key_id": "k1"}},
            "oauth2": {"issuer": "https://issuer.example.com"},
        },
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_config(file)


def test_no_object_shows_a_secret(config: PipelineConfig) -> None:
    """The `repr` of an object of the platform, as a traceback or a log may show it, has no secret."""
    endpoints = Endpoints(
        gcs_url="", bigquery_url="", issuer_url="", postgres_host="", postgres_port=0, postgres_user="",
        postgres_password=PLANTED["TXN_PG_PASSWORD"], postgres_dbname="",
    )  # fmt: skip
    with open_services(config, endpoints) as services:
        own = services.of(feeds_of(config)[0])
        kept = [find_access(config), own.run_files.hashers, own.stores, make_verifier(config), build(config)]
        shown = [(type(one).__name__, repr(one)) for one in gc.get_objects() if _is_ours(type(one))]
    assert kept
    names = {name for name, _ in shown}
    assert {"Endpoints", "Access", "Services", "RunFiles", "Hasher", "TokenVerifier", "Webhook", "Mail"} <= names
    assert [(name, found(text)) for name, text in shown if found(text)] == []


def _is_ours(kind: type) -> bool:
    return str(kind.__module__).startswith("txn_assets.")


# The snapshot of a schedule reads a property that Dagster deprecates.
@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")
def test_no_definition_has_a_secret(config: PipelineConfig) -> None:
    """What Dagster shows of the definitions (UI, launchpad, `dg list defs`) has no secret: it is in this snapshot."""
    repository = build(config).get_repository_def()

    shown = serialize_value(RepositorySnap.from_def(repository))

    assert "new_landed_files" in shown
    assert found(shown) == set()


def test_error_of_a_receiver_has_no_secret() -> None:
    """Neither the message nor the traceback of a webhook that does not answer has its address."""
    with pytest.raises(DeliveryError) as caught:
        Webhook(f"http://127.0.0.1:1/{PLANTED['TXN_HASH_KEY']}").send(Message("title", ("line",)))

    assert "The webhook at 127.0.0.1 does not answer" in str(caught.value)
    assert found("".join(traceback.format_exception(caught.value))) == set()
