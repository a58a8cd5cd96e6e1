"""The sensor and the daily sweep against the real bucket and ledgers."""

import datetime as dt

import dagster as dg

from txn_assets.definitions import build
from txn_assets_tests.deployment import Deployment, make_file, make_row


def _tick(deployment: Deployment, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    definitions = build(deployment.config)
    sensor = definitions.resolve_sensor_def("new_landed_files")
    resources = {name: (definitions.resources or {})[name] for name in sensor.required_resource_keys}
    with dg.build_sensor_context(deployment.instance, cursor=cursor, resources=resources) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def _sweep(deployment: Deployment) -> list[str | None]:
    definitions = build(deployment.config)
    schedule = definitions.resolve_schedule_def("daily_sweep")
    now = dt.datetime.now(dt.UTC)
    resources = {name: (definitions.resources or {})[name] for name in schedule.required_resource_keys}
    with (
        # A context of a schedule opens its instance by reference, which one in memory has not.
        dg.DagsterInstance.local_temp() as instance,
        dg.build_schedule_context(instance, scheduled_execution_time=now, resources=resources) as context,
    ):
        result = schedule(context)
    return [request.partition_key for request in result] if isinstance(result, list) else []


def _run_keys(tick: dg.SensorResult | dg.SkipReason) -> list[str | None]:
    assert isinstance(tick, dg.SensorResult)
    return [request.run_key for request in tick.run_requests or []]


def test_new_and_overwritten_files_are_requested_once(deployment: Deployment) -> None:
    """A new version is requested with name@generation as run key; the next tick requests nothing."""
    cursor = _cursor(_tick(deployment))
    first = deployment.land("a.csv", make_file(make_row()))
    tick = _tick(deployment, cursor)
    assert _run_keys(tick) == [f"a.csv@{first}"]

    assert isinstance(_tick(deployment, _cursor(tick)), dg.SkipReason)

    second = deployment.land("a.csv", make_file(make_row(price="1.00")))
    assert _run_keys(_tick(deployment, _cursor(tick))) == [f"a.csv@{second}"]


def test_what_is_no_file_is_left_alone(deployment: Deployment) -> None:
    """Empty and unfinished objects are skipped, and the message says what was looked at."""
    cursor = _cursor(_tick(deployment))
    for name, content in (("empty.csv", b""), ("a.csv.tmp", b"x"), (".hidden.csv", b"x")):
        deployment.land(name, content)

    tick = _tick(deployment, cursor)

    assert isinstance(tick, dg.SkipReason)
    assert "Nothing new among 4 objects in gs://" in str(tick.skip_message)


def test_sweep_requests_what_a_ledger_lacks(deployment: Deployment) -> None:
    """The sweep requests a landed version that one store has not loaded, and nothing when all have."""
    deployment.load("a.csv", make_row())
    deployment.materialize("transactions.csv")
    assert _sweep(deployment) == []

    deployment.pg.execute(f"DELETE FROM {deployment.pg_table}_loads WHERE source_file = 'a.csv'")

    assert _sweep(deployment) == ["a.csv"]


def _cursor(tick: dg.SensorResult | dg.SkipReason) -> str | None:
    assert isinstance(tick, dg.SensorResult)
    return tick.cursor
