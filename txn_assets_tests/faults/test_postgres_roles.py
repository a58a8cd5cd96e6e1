"""A PostgreSQL role that may write but owns nothing can load; the owner is asked for what it may not create."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from txn_assets.files.ledger import Action
from txn_assets.files.ledgers import HeldVersion
from txn_assets.stores.errors import StoreError
from txn_assets.stores.store import Store
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.faults.bench import Content, difference, make_load
from txn_assets_tests.faults.proxy import through

STORE = "postgres_transactions"


@dataclass(frozen=True)
class Loader:
    """A role without any privileges, the sink that uses it, the owner's sink, and a superuser."""

    name: str
    sink: Store
    owner: Store
    superuser: "psycopg.Connection[Any]"


@pytest.fixture
def loader(deployment: Deployment, stores: dict[str, Store]) -> Iterator[Loader]:
    """Yield a role for this test only."""
    name = f"loader_{uuid.uuid4().hex[:12]}"
    store, endpoints = stores[STORE], deployment.endpoints
    clients = through(store.clients, replace(endpoints, postgres_user=name), seconds=5.0)
    superuser_dsn = replace(endpoints, postgres_user="postgres").postgres_dsn
    with psycopg.connect(superuser_dsn, autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{endpoints.postgres_password}'")
        yield Loader(name, replace(store, clients=clients), store, superuser)
        superuser.execute(f"DROP OWNED BY {name}")
        superuser.execute(f"DROP ROLE {name}")


def grant_least(deployment: Deployment, loader: Loader) -> None:
    """Grant what docs/operations.md lists, except DELETE on the ledger, which few loads need."""
    schema = deployment.config.data_warehouse.postgres.schema_
    for statement in (
        f"GRANT USAGE ON SCHEMA {schema} TO {loader.name}",
        f"GRANT SELECT, INSERT, DELETE ON {deployment.pg_table} TO {loader.name}",
        f"GRANT SELECT, INSERT, UPDATE ON {deployment.pg_table}_loads TO {loader.name}",
        f"GRANT INSERT ON {deployment.pg_table}_rejects TO {loader.name}",
    ):
        deployment.pg.execute(statement)


def sentence_of(sink: Store, content: Content) -> str:
    """Return the message of a load that must fail."""
    with pytest.raises(StoreError) as raised:
        make_load(sink, content)
    return str(raised.value)


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
    held = HeldVersion(new.file.version.generation, new.file.rules_id, new.file.key_id)
    assert loader.sink.held_versions() == {"a.csv": held}
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
        ("DROP TABLE {0}_loads CASCADE", "CREATE TABLE"),
        ("DROP TABLE {0}_rejects", "CREATE TABLE"),
        ("ALTER TABLE {0} DROP COLUMN source_row", "ADD COLUMN"),
        ("ALTER TABLE {0} DROP COLUMN product", "ADD COLUMN"),
        ("ALTER TABLE {0}_loads DROP COLUMN fingerprint", "ADD COLUMN"),
        (
            "ALTER TABLE {0}_loads ADD COLUMN sum_fee numeric NOT NULL DEFAULT 0; "
            "ALTER TABLE {0}_loads ALTER COLUMN sum_fee DROP DEFAULT",
            "DROP NOT NULL",
        ),
    ],
)
def test_something_is_missing(deployment: Deployment, loader: Loader, old: Content, lost: str, statement: str) -> None:
    """If something is missing, the sentence has the statement for it and none for what exists."""
    make_load(loader.owner, old)
    grant_least(deployment, loader)
    deployment.pg.execute(lost.format(deployment.pg_table))

    sentence = sentence_of(loader.sink, old)

    # The grants create the table of erasures, which is there only after the first one.
    rest = [text for text in sentence.split("; ") if "_erasures" not in text]
    created = [text for text in rest if "CREATE TABLE " in text or "ALTER TABLE " in text]
    assert [statement in text for text in created] == [True]
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


def test_view_is_missing(deployment: Deployment, loader: Loader, old: Content, new: Content) -> None:
    """A role that may not create the view `file_status` loads, and its run warns with the statement for the owner."""
    make_load(loader.owner, old)
    grant_least(deployment, loader)
    view = f"{deployment.config.data_warehouse.postgres.schema_}.file_status"
    deployment.pg.execute(f"DROP VIEW {view}")

    assert make_load(loader.sink, new) is Action.LOAD
    (notice,) = loader.sink.notices
    assert "permission denied" in notice
    paste_remedy(loader, notice)
    loader.sink.notices.clear()
    assert make_load(loader.sink, new, "again") is Action.KEEP

    assert not loader.sink.notices
    found = loader.superuser.execute(f"SELECT source_file, valid FROM {view}").fetchall()
    assert found == [("a.csv", len(list(new.rows.elements())))]


def test_something_else_is_named_like_the_view(deployment: Deployment, loader: Loader, old: Content) -> None:
    """A view of that name that somebody else made is left alone, and the load goes on with a warning."""
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(f"CREATE SCHEMA {schema}")
    deployment.pg.execute(f"CREATE VIEW {schema}.file_status AS SELECT 1 AS mine")

    assert make_load(loader.owner, old) is Action.LOAD

    (notice,) = loader.owner.notices
    assert f"{schema}.file_status" in notice
    assert deployment.pg.execute(f"SELECT * FROM {schema}.file_status").fetchall() == [(1,)]


def test_database_in_another_encoding(deployment: Deployment, loader: Loader, old: Content) -> None:
    """A database that cannot hold every text is refused before the first row."""
    database = f"latin_{loader.name}"
    loader.superuser.execute(f"CREATE DATABASE {database} OWNER {loader.name} TEMPLATE template0 ENCODING 'LATIN1'")
    try:
        clients = loader.sink.clients
        there = replace(clients.access, postgres={**clients.access.postgres, "dbname": database})

        sentence = sentence_of(replace(loader.sink, clients=replace(clients, access=there)), old)
    finally:
        loader.superuser.execute(f"DROP DATABASE {database}")

    assert "its database is encoded in LATIN1: create one with ENCODING 'UTF8'" in sentence
