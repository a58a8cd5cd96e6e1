"""The roles of docs/security.md, made by its own script, do their part and nothing else."""

import datetime as dt
import hashlib
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from txn_assets.config import load_config
from txn_assets.defs.services import share_services
from txn_assets.environment import project_root
from txn_assets.feeds.configured import feeds_of
from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.ledger import Action, FileVersion
from txn_assets.local.endpoints import Endpoints
from txn_assets.marts.engines import open_marts
from txn_assets.marts.mart import MARTS
from txn_assets.marts.pages import MartPages
from txn_assets.runs.files import postgres_of
from txn_assets.stores.errors import StoreError
from txn_assets.stores.file_status import read_status
from txn_assets.stores.postgres import sql as statements
from txn_assets.stores.postgres.sql import Table
from txn_assets.target import open_services
from txn_assets.watch.ledger_figures import read_figures
from txn_assets_tests.deployment import Deployment, make_config, make_row, many_rows
from txn_assets_tests.faults.bench import make_load, open_stores, stage

(SCRIPT,) = re.findall(
    r"^```sql\n(.*?)^```", (project_root() / "docs" / "security.md").read_text(), re.MULTILINE | re.DOTALL
)
MART = "sales_by_product"
PERSON = hashlib.sha256(b"Z1").hexdigest()
REQUEST = ErasureRequest(
    feed="transactions",
    number=1,
    field="transaction_id",
    digests={"sha256": PERSON},
    requested_at=dt.datetime(2026, 11, 26, tzinfo=dt.UTC),
    requested_by="a test",
)


@dataclass(frozen=True)
class Roles:
    """The deployment whose owner has loaded a file, an administrator, and the endpoints of each role."""

    deployment: Deployment
    administrator: "psycopg.Connection[Any]"
    suffix: str

    def of(self, role: str) -> Endpoints:
        """Return the endpoints for a role of the page."""
        return replace(self.deployment.endpoints, postgres_user=f"{role}_{self.suffix}")


@pytest.fixture(scope="module")
def deployment(stack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Yield a deployment whose owner has loaded a file."""
    with pytest.MonkeyPatch.context() as patch:
        config = tmp_path_factory.mktemp("grants") / "config.yaml"
        make_config(config)
        patch.setenv("TXN_HOME", str(stack_home))
        patch.setenv("TXN_CONFIG", str(config))
        with Deployment.temporary(config) as opened:
            opened.load("a.csv", *many_rows(3), make_row(product=""))
            yield opened


@pytest.fixture(scope="module")
def roles(deployment: Deployment) -> Iterator[Roles]:
    """Run the script of the page with the names of this deployment."""
    suffix = uuid.uuid4().hex[:8]
    script = SCRIPT.replace('"public"', f'"{deployment.config.data_warehouse.postgres.schema_}"')
    script = script.replace('"transactions_mart"', f'"{deployment.config.data_mart.dataset}"')
    script = re.sub(r'"(loads|reads|erases)"', rf'"\1_{suffix}"', script)
    made = re.findall(r'CREATE ROLE ("\w+")', script)
    dsn = replace(deployment.endpoints, postgres_user="postgres").postgres_dsn
    with psycopg.connect(dsn, autocommit=True) as administrator:
        try:
            administrator.execute(script)
            for role in made:
                administrator.execute(f"ALTER ROLE {role} PASSWORD '{deployment.endpoints.postgres_password}'")
            yield Roles(deployment, administrator, suffix)
        finally:
            for role in made:
                administrator.execute(f"DROP OWNED BY {role} CASCADE")
                administrator.execute(f"DROP ROLE {role}")


def test_grants_of_the_page_are_those_of_the_error() -> None:
    """What a load without rights asks for is what the page grants, statement by statement."""
    (feed, *_) = feeds_of(load_config())

    table = Table("public", feed)
    grants = [*statements.grants(table, "loads"), *statements.erasure_grants(table, "erases")]
    asked = [f"{grant.as_string()};" for grant in grants]

    assert [grant for grant in asked if grant not in SCRIPT.splitlines()] == []


def test_run_as_a_role_that_owns_nothing(roles: Roles) -> None:
    """A whole run replaces a file, and a mart is refreshed, with the grants of the page only."""
    deployment = roles.deployment
    with share_services(deployment.config, roles.of("loads")) as services:
        assert deployment.load("a.csv", *many_rows(2, price="9.00")).success
        assert len(deployment.rows_everywhere("a.csv")) == 2
        marts = open_marts(services.of(deployment.feed()), deployment.config).postgres
        marts.refresh(MARTS[MART])
        assert marts.rows(MARTS[MART])

    refused = ("DROP TABLE {}", "TRUNCATE {}", "ALTER TABLE {} ADD COLUMN x int", "UPDATE {} SET source_file = ''")
    _assert_refused(roles, "loads", [(statement, deployment.pg_table) for statement in refused])


def test_each_grant_is_needed(roles: Roles) -> None:
    """Without any one of the grants, a load fails and says which one to ask for."""
    deployment = roles.deployment
    before, live = (stage(deployment, "b.csv", 3, seed=seed, rejected=1) for seed in (1, 2))
    # The store holds a larger generation, as after the restore of an older version.
    versions = [before.at(live.file.version.generation + 1), live]
    # A member of another role would have its grants too.
    roles.administrator.execute(f"REVOKE erases_{roles.suffix} FROM loads_{roles.suffix}")
    with share_services(deployment.config, roles.of("loads")), open_stores(deployment.config) as opened:
        store = opened["postgres_transactions"]

        def load() -> None:
            for version in versions:
                assert make_load(store, version) is Action.LOAD

        assert _needless(roles, "loads", statements.grants, load) == []


def test_erasure(roles: Roles) -> None:
    """The rows of a person are deleted and counted, and the role changes nothing else."""
    deployment = roles.deployment
    deployment.load("c.csv", make_row(transaction_id="Z1"), make_row(transaction_id="Z2"))
    with open_services(deployment.config, roles.of("erases")) as opened:
        store = opened.of(deployment.feed()).stores["postgres"]

        assert (store.count_erased_rows(REQUEST), store.erase(REQUEST), store.count_erased_rows(REQUEST)) == (1, 1, 0)

    assert len(deployment.rows("postgres_transactions", "c.csv")) == 1
    refused = ("INSERT INTO {} DEFAULT VALUES", "UPDATE {} SET source_file = ''", "TRUNCATE {}", "DROP TABLE {}")
    _assert_refused(roles, "erases", [(statement, deployment.pg_table) for statement in refused])


def test_each_grant_of_an_erasure_is_needed(roles: Roles) -> None:
    """Without any one of the grants, an erasure fails and says which one to ask for."""
    deployment, table = roles.deployment, roles.deployment.pg_table
    with open_services(deployment.config, roles.of("erases")) as opened:
        store = opened.of(deployment.feed()).stores["postgres"]

        def erase() -> None:
            deployment.pg.execute(f"INSERT INTO {table} (transaction_id, source_file) VALUES (%s, 'b.csv')", [PERSON])
            deployment.pg.execute(f"DELETE FROM {table}_erasures")
            assert store.retry_transient(lambda: store.erase(REQUEST)) == 1

        assert _needless(roles, "erases", statements.erasure_grants, erase) == []


def _needless(
    roles: Roles, role: str, grants: Callable[[Table, str], list[sql.Composed]], work: Callable[[], None]
) -> list[str]:
    """Return the grants without which `work` on the file b.csv succeeds all the same; with all, it must succeed."""
    table = Table(roles.deployment.config.data_warehouse.postgres.schema_, roles.deployment.feed())
    user = f"{role}_{roles.suffix}"
    written = [grant.as_string() for grant in grants(table, user)]
    needless = []
    for grant in (grant for grant in written if grant.startswith("GRANT ")):
        _, privileges, where, _ = re.split("GRANT | ON | TO ", grant)
        for privilege in privileges.split(", "):
            roles.administrator.execute(f"REVOKE {privilege} ON {where} FROM {user}")
            try:
                work()
                needless.append(f"{privilege} ON {where}")
            except StoreError as error:
                if not re.search(r"permission denied .* can run: GRANT USAGE", str(error)):
                    raise
            finally:
                _forget(roles)
            roles.administrator.execute(grant)
    work()
    _forget(roles)
    return needless


def _forget(roles: Roles) -> None:
    table = roles.deployment.pg_table
    for name in (table, f"{table}_loads", f"{table}_rejects"):
        roles.administrator.execute(f"DELETE FROM {name} WHERE source_file = 'b.csv'")


def test_reader(roles: Roles) -> None:
    """The reader says what became of a file, and reads ledgers and marts; not the other tables, and changes nothing."""
    deployment = roles.deployment
    with share_services(deployment.config, roles.of("loads")) as services:
        open_marts(services.of(deployment.feed()), deployment.config).postgres.refresh(MARTS[MART])
    generation = deployment.bucket.get_blob(f"{deployment.feed().landing}/a.csv").generation
    with open_services(deployment.config, roles.of("reads")) as opened:
        own = opened.of(deployment.feed())
        status = read_status(own, FileVersion("a.csv", generation, 0, ""), None)
        assert status
        assert status.valid == len(deployment.rows("postgres_transactions", "a.csv"))
        assert "a.csv" in {load.file.name for load in postgres_of(own).recent_loads(20)}
        assert own.read_ledgers()
        schema = deployment.config.data_warehouse.postgres.schema_
        figures = read_figures(own.clients, schema, [deployment.feed()])["transactions"]
        assert figures.loads
        with closing(MartPages.of(open_marts(own, deployment.config).postgres)) as pages, pages.snapshot() as read:
            assert read.page(MARTS[MART], limit=10)[0]
        with own.clients.postgres() as connection:
            assert connection.execute(f"SELECT valid, rejected FROM {schema}.file_status").fetchall()

    table, mart = deployment.pg_table, f"{deployment.config.data_mart.dataset}.{MART}"
    written = [
        (statement, name) for name in (f"{table}_loads", mart) for statement in ("DELETE FROM {}", "DROP TABLE {}")
    ]
    tables = [("SELECT FROM {}", name) for name in (table, f"{table}_erasures")]
    _assert_refused(roles, "reads", [*tables, *written])


def _assert_refused(roles: Roles, role: str, attempts: list[tuple[str, str]]) -> None:
    with psycopg.connect(roles.of(role).postgres_dsn, autocommit=True) as connection:
        for statement, name in attempts:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(statement).format(sql.Identifier(*name.split("."))))
