"""Errors that nobody foresaw quote no row, wherever they go: Dagster's storage, the logs, the terminal."""

import logging
import secrets
from pathlib import Path

import dagster as dg
import pytest

from txn_assets.cli import main
from txn_assets.definitions import build
from txn_assets.environment import txn_home
from txn_assets_tests.deployment import Deployment, failure, make_file, make_row
from txn_assets_tests.leaks.defect import Swapped
from txn_assets_tests.leaks.search import Search


@pytest.fixture
def mark() -> str:
    """Return what the ids of the test begin with."""
    return f"Zk{secrets.token_hex(4)}"


@pytest.fixture
def file(deployment: Deployment, tmp_path: Path, mark: str) -> Path:
    """Return a file whose load fails in Arrow, with an error that quotes its id."""
    deployment.configure({"feeds": {"swapped": {"model": f"{Swapped.__module__}:Swapped", "max_invalid_ratio": 1}}})
    path = tmp_path / "a.csv"
    path.write_text(f"order_id,pieces,placed\n{mark}001,2,2024-05-01\n")
    return path


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the DAGSTER_HOME of the test's run."""
    home = tmp_path / "dagster-home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_run_of_one_file(  # noqa: PLR0913, PLR0917 - fixtures
    log_format: str,
    file: Path,
    mark: str,
    dagster_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The run says which error was raised where; nothing quotes its text, not even in the storage."""
    monkeypatch.setenv("TXN_LOG_FORMAT", log_format)

    code = main(["run", "--feed", "swapped", str(file)])

    shown = "".join(capfd.readouterr())
    assert code == 1
    assert "validated_swapped failed with Arrow" in shown
    assert "_from_models (txn_assets/rows/validation.py:" in shown
    search = Search(mark)
    search.add("output", shown.encode())
    for path in [*dagster_home.rglob("*"), *(txn_home() / "logs").iterdir()]:
        if path.is_file():
            search.add_file(str(path), path)
    assert not search.hits


def test_dry_run(file: Path, mark: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A command that fails says where, without the text of the error."""
    code = main(["check", "--feed", "swapped", str(file)])

    shown = "".join(capfd.readouterr())
    assert code not in (0, 1)
    assert "_from_models (txn_assets/rows/validation.py:" in shown
    assert mark not in shown


def test_everything_that_dagster_calls(deployment: Deployment) -> None:
    """Each asset, check and op is kept from raising values."""
    ops = [op for job in build(deployment.config).resolve_all_job_defs() for op in job.all_node_defs]
    functions = {op.name: op.compute_fn.decorated_fn for op in ops if isinstance(op, dg.OpDefinition)}  # type: ignore[union-attr]  # ours are decorated

    unguarded = [name for name, function in functions.items() if not hasattr(function, "__wrapped__")]

    assert len(functions) > 15
    assert unguarded == []


def test_value_that_postgresql_refuses(deployment: Deployment) -> None:
    """PostgreSQL quotes values in messages about conversions, and rows in their details; neither goes anywhere."""
    deployment.load("a.csv", make_row())
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(
        f"CREATE FUNCTION {schema}.convert() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN NEW.quantity = NEW.product::int; RETURN NEW; END$$"
    )
    deployment.pg.execute(
        f"CREATE TRIGGER converts BEFORE INSERT ON {deployment.pg_table} "
        f"FOR EACH ROW EXECUTE FUNCTION {schema}.convert()"
    )
    deployment.land("b.csv", make_file(make_row(product="Zk-mouse")))

    result = deployment.materialize("b.csv", select="*postgres_transactions", raise_on_error=False)

    assert "invalid input syntax for type integer: ..." in failure(result)
    # The events of the assets before show the first rows, hashed; that of the failure shows none.
    failures = [entry for entry in deployment.instance.all_logs(result.run_id) if int(entry.level) >= logging.ERROR]
    assert failures
    assert not any("Zk-mouse" in dg.serialize_value(entry) for entry in failures)
