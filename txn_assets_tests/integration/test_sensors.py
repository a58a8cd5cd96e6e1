"""The sensor and the daily sweep against the real bucket and ledgers."""

import datetime as dt

import dagster as dg

from txn_assets.definitions import build
from txn_assets_tests.deployment import Deployment, make_file, make_row


def _tick(deployment: Deployment, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    definitions = build(deployment.config)
    sensor = definitions.resolve_sensor_def("new_landed_files")
    context = dg.build_sensor_context(
        deployment.instance, cursor=cursor, definitions=definitions, resources=definitions.resources
    )
    with context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def _sweep(deployment: Deployment) -> list[dg.RunRequest] | dg.SkipReason:
    definitions = build(deployment.config)
    schedule = definitions.resolve_schedule_def("daily_sweep")
    context = dg.build_schedule_context(
        deployment.instance, scheduled_execution_time=dt.datetime.now(dt.UTC), resources=definitions.resources
    )
    with context:
        result: list[dg.RunRequest] | dg.SkipReason = schedule(context)
    return result


def test_new_and_overwritten_files_are_requested_once(deployment: Deployment) -> None:
    """A new version is requested with name@generation as run key; the next tick requests nothing."""
    first = deployment.land("a.csv", make_file(make_row()))
    tick = _tick(deployment)
    assert isinstance(tick, dg.SensorResult)
    assert [request.run_key for request in tick.run_requests or []] == [f"a.csv@{first}"]

    assert isinstance(_tick(deployment, tick.cursor), dg.SkipReason)

    second = deployment.land("a.csv", make_file(make_row(price="1.00")))
    tick = _tick(deployment, tick.cursor)
    assert isinstance(tick, dg.SensorResult)
    assert [request.run_key for request in tick.run_requests or []] == [f"a.csv@{second}"]


def test_what_is_no_file_is_left_alone(deployment: Deployment) -> None:
    """Folder markers, empty and unfinished objects are skipped, and the message says what was looked at."""
    for name, content in (("folder/", b""), ("empty.csv", b""), ("a.csv.tmp", b"x"), (".hidden.csv", b"x")):
        deployment.land(name, content)

    tick = _tick(deployment)

    assert isinstance(tick, dg.SkipReason)
    assert "Nothing new among" in str(tick.skip_message)


def test_sweep_requests_what_a_ledger_lacks(deployment: Deployment) -> None:
    """The sweep requests a landed version that one store has not loaded, and nothing when all have."""
    deployment.load("a.csv", make_row())
    assert isinstance(_sweep(deployment), dg.SkipReason)

    deployment.pg.execute(f"DELETE FROM {deployment.pg_table}_loads")
    requests = _sweep(deployment)

    assert isinstance(requests, list)
    assert [request.partition_key for request in requests] == ["a.csv"]
