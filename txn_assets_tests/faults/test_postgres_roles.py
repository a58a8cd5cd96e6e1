"""A PostgreSQL role that may write but owns nothing can load; the owner is asked for what it may not create."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import psycopg
import pytest

from txn_assets.defs.io_managers.sink import SinkIOManager
from txn_assets.defs.resources import Clients
from txn_assets.files.ledger import Action
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.faults.bench import Content, difference, make_load
from txn_assets_tests.faults.proxy import ProxiedClients

STORE = "postgres_transactions"


@dataclass(frozen=True)
class Loader:
    """A role without any privileges, the sink that uses it, the owner's sink, and a superuser."""

    name: str
    sink: SinkIOManager
    owner: SinkIOManager
    superuser: "psycopg.Connection[Any]"


@pytest.fixture
def loader(deployment: Deployment, sinks: dict[str, SinkIOManager]) -> Iterator[Loader]:
    """Yield a role for this test only."""
    name = f"loader_{uuid.uuid4().hex[:12]}"
    sink, endpoints = sinks[STORE], deployment.endpoints
    assert isinstance(sink.clients, Clients)
    stores = ProxiedClients.through(sink.clients, replace(endpoints, postgres_user=name), seconds=5.0)
    fields = {field: getattr(sink, field) for field in type(sink).model_fields}
    superuser_dsn = replace(endpoints, postgres_user="postgres").postgres_dsn
    with psycopg.connect(superuser_dsn, autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{endpoints.postgres_password}'")
        yield Loader(name, type(sink)(**(fields | {"clients": stores})), sink, superuser)
        superuser.execute(f"DROP OWNED BY {name}")
        superuser.execute(f"DROP ROLE {name}")


def grant_least(deployment: Deployment, loader: Loader) -> None:
    """Grant what docs/operations.md lists, except DELETE on the ledger, which few loads need."""
    schema = deployment.config.data_warehouse.postgres.schema_
    for statement in (
        f"GRANT USAGE ON SCHEMA {schema} TO {loader.name}",
        f"GRANT SELECT, INSERT, DELETE ON {deployment.pg_table} TO {loader.name}",
        f"GRANT SELECT, INSERT, UPDATE ON {deployment.pg_table}_loads TO {loader.name}",
    ):
        deployment.pg.execute(statement)


def sentence_of(sink: SinkIOManager, content: Content) -> str:
    """Return the message of a load that must fail."""
    with pytest.raises(dg.Failure) as raised:
        make_load(sink, content)
    return str(raised.value.description)


def paste_remedy(loader: Loader, sentence: str) -> None:
    """Run the statement that a sentence recommends, as the owner would."""
    _, _, script = sentence.partition(" can run: ")
    loader.superuser.execute(script)


def test_role_that_owns_nothing_loads(deployment: Deployment, loader: Loader, old: Content, new: Content) -> None:
    """With the least privileges, the role replaces a file, loads it again and reports the contents."""
    make_load(loader.owner, old)
    grant_least(deployment, loader)

    assert make_load(loader.sink, new) is Action.LOAD
    assert make_load(loader.sink, new) is Action.KEEP

    assert difference(deployment, STORE, new).size == 0
    assert loader.sink.held_generations() == {"a.csv": new.file.version.generation}
    assert loader.sink.inexact_columns() == []


def test_nothing_is_there(deployment: Deployment, loader: Loader, old: Content) -> None:
    """If nothing exists, the sentence has every statement, in an order in which they run."""
    sentence = sentence_of(loader.sink, old)

    assert f"role {loader.name} may not create what is missing" in sentence
    paste_remedy(loader, sentence)
    make_load(loader.sink, old)
    found = loader.superuser.execute(f"SELECT count(*) FROM {deployment.pg_table}").fetchall()
    assert found == [(len(list(old.rows.elements())),)]


@pytest.mark.parametrize(
    ("lost", "statement"),
    [
        ("DROP TABLE {0}_loads", "CREATE TABLE"),
        ("ALTER TABLE {0} DROP COLUMN source_row", "ADD COLUMN"),
        ("DROP INDEX {0}_source_file_idx", "CREATE INDEX"),
    ],
)
def test_something_is_missing(deployment: Deployment, loader: Loader, old: Content, lost: str, statement: str) -> None:
    """If something is missing, the sentence has the statement for it and none for what exists."""
    make_load(loader.owner, old)
    grant_least(deployment, loader)
    deployment.pg.execute(lost.format(deployment.pg_table))

    sentence = sentence_of(loader.sink, old)

    assert statement in sentence
    assert sentence.count("CREATE ") + sentence.count("ALTER ") == 1
    paste_remedy(loader, sentence)
    assert make_load(loader.sink, old) in (Action.LOAD, Action.KEEP)
    assert difference(deployment, STORE, old).size == 0


def test_privilege_is_missing(deployment: Deployment, loader: Loader, old: Content, new: Content) -> None:
    """A role that may only read is told which privileges to ask for."""
    make_load(loader.owner, old)
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(f"GRANT USAGE ON SCHEMA {schema} TO {loader.name}")

    sentence = sentence_of(loader.sink, new)

    assert "permission denied" in sentence
    paste_remedy(loader, sentence)
    assert make_load(loader.sink, new) is Action.LOAD


def test_database_in_another_encoding(deployment: Deployment, loader: Loader, old: Content) -> None:
    """A database that cannot hold every text is refused before the first row."""
    database = f"latin_{loader.name}"
    loader.superuser.execute(f"CREATE DATABASE {database} OWNER {loader.name} TEMPLATE template0 ENCODING 'LATIN1'")
    try:
        stores = loader.sink.clients
        assert isinstance(stores, ProxiedClients)
        endpoints = replace(stores.local_endpoints(), postgres_dbname=database)
        fields = {field: getattr(loader.sink, field) for field in type(loader.sink).model_fields}
        there = ProxiedClients.through(stores, endpoints, seconds=5.0)

        sentence = sentence_of(type(loader.sink)(**(fields | {"clients": there})), old)
    finally:
        loader.superuser.execute(f"DROP DATABASE {database}")

    assert "its database is encoded in LATIN1: create one with ENCODING 'UTF8'" in sentence
