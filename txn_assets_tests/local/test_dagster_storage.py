"""Dagster's own storage in the local stack."""

import sys
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from txn_assets.defs.dagster_home import prepare
from txn_assets_tests.local.conftest import Stack


@pytest.fixture(scope="module")
def instance(stack: Stack) -> Iterator[dg.DagsterInstance]:
    """Return the local instance, as `make dev` and `make run` open it."""
    with dg.DagsterInstance.from_config(str(prepare(stack.home, stack.endpoints))) as opened:
        yield opened


def test_history_is_shared(instance: dg.DagsterInstance, stack: Stack) -> None:
    """One process sees what another process registered."""
    instance.add_dynamic_partitions("landed_files", ["a.csv"])

    with dg.DagsterInstance.from_config(str(prepare(stack.home, stack.endpoints))) as another:
        assert another.get_dynamic_partitions("landed_files") == ["a.csv"]


def test_settings_are_private(instance: dg.DagsterInstance, stack: Stack) -> None:
    """The files with the settings and with the database password are readable only by their owner."""
    assert instance.root_directory == str(stack.home / "dagster")
    for name in ("dagster.yaml", "pgpass"):
        assert (stack.home / "dagster" / name).stat().st_mode & 0o077 == 0


def test_password_is_not_in_the_settings(instance: dg.DagsterInstance, stack: Stack) -> None:
    """Neither the settings in the UI nor the arguments of Dagster's processes have the password of the database."""
    arguments = serialize_value(instance.get_ref())

    assert "dagster_postgres" in instance.info_str()
    assert "dagster_postgres" in arguments
    assert stack.endpoints.postgres_password not in instance.info_str() + arguments


def test_run_monitoring_checks_processes(instance: dg.DagsterInstance) -> None:
    """The run launcher can tell whether the process of a run is alive."""
    assert instance.run_launcher.supports_check_run_worker_health


def test_instance_without_its_run_launcher(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the run launcher cannot be imported, the instance opens with Dagster's own, and a warning says so."""
    monkeypatch.setitem(sys.modules, "txn_assets.defs.run_launcher", None)

    with dg.DagsterInstance.from_config(str(prepare(stack.home, stack.endpoints))) as opened:
        assert type(opened.run_launcher) is dg.DefaultRunLauncher
    assert "The run launcher of txn_assets does not work with Dagster" in caplog.text
