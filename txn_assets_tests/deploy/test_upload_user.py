"""The PostgreSQL user of the upload service, made by the commands in docs/deploy.md: it only reads."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from txn_assets.files.file_status import State
from txn_assets.files.ledger import FileVersion
from txn_assets.marts.engines import open_marts
from txn_assets.marts.mart import MARTS
from txn_assets.marts.pages import MartPages
from txn_assets.stores.file_status import read_status
from txn_assets.target import open_services
from txn_assets_tests.deploy.test_docs import function
from txn_assets_tests.deployment import Deployment, make_row
from txn_assets_tests.marts.conftest import opened

PASSWORD = "o'brien"


@pytest.fixture
def user(deployment: Deployment) -> Iterator[Deployment]:
    """Yield the deployment with the documented user. There is a mart before it is made, and another one after."""
    deployment.load("a.csv", make_row())
    refresh(deployment, "sales_by_product")
    (code,) = re.findall(r"python -c '\n(.*?)^' <", function("read_only_user"), re.MULTILINE | re.DOTALL)
    administrator = replace(deployment.endpoints, postgres_user="postgres").postgres_dsn
    with psycopg.connect(administrator, autocommit=True) as administration:
        # As the users that gcloud creates.
        role = sql.Identifier(deployment.endpoints.postgres_user)
        administration.execute(sql.SQL("ALTER ROLE {} CREATEROLE").format(role))
        try:
            subprocess.run([sys.executable, "-c", code], input=PASSWORD, text=True, check=True)
            refresh(deployment, "sales_by_date")
            yield deployment
        finally:
            administration.execute("DROP OWNED BY uploads")
            administration.execute("DROP ROLE uploads")
            administration.execute(sql.SQL("ALTER ROLE {} NOCREATEROLE").format(role))


def refresh(deployment: Deployment, mart: str) -> None:
    with opened(deployment) as marts:
        marts.postgres.refresh(MARTS[mart])


def test_upload_user(user: Deployment) -> None:
    """The service finds what became of a file and reads each mart as this user, which changes and creates nothing."""
    endpoints = replace(user.endpoints, postgres_user="uploads", postgres_password=PASSWORD)
    blob = user.bucket.get_blob(f"{user.feed().landing}/a.csv")
    with open_services(user.config, endpoints) as opened_services:
        services = opened_services.of(user.feed())
        status = read_status(services, FileVersion("a.csv", blob.generation, 0, ""), None)
        assert status
        assert status.state is State.LOADED
        with closing(MartPages.of(open_marts(services, user.config).postgres)) as pages, pages.snapshot() as marts:
            for mart in ("sales_by_product", "sales_by_date"):
                assert len(marts.page(MARTS[mart], limit=10)[0]) == 1

    refused: list[tuple[str, Any]] = [
        (statement, sql.Identifier(*relation.split(".")))
        for relation in (user.pg_table, f"{user.pg_table}_loads", f"{user.config.data_mart.dataset}.sales_by_date")
        for statement in ("DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} ADD COLUMN x int")
    ]
    refused.append(("SELECT FROM {}", sql.Identifier(*user.pg_table.split("."))))
    refused.append(("CREATE TABLE {} (x int)", sql.Identifier(user.config.data_mart.dataset, "mine")))
    with psycopg.connect(endpoints.postgres_dsn, autocommit=True) as connection:
        for statement, name in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(statement).format(name))
