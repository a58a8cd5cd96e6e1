"""The sensor and the daily sweep against the real bucket and ledgers."""

import datetime as dt
import json
import uuid

import dagster as dg

from txn_assets.definitions import build
from txn_assets.files.arrival import FEW_FILES, KEY_TAG
from txn_assets_tests.deployment import Deployment, make_file, make_row


def _tick(deployment: Deployment, cursor: str | None = None) -> dg.SensorResult:
    definitions = build(deployment.config)
    sensor = definitions.resolve_sensor_def("new_landed_files")
    resources = {name: (definitions.resources or {})[name] for name in sensor.required_resource_keys}
    with dg.build_sensor_context(deployment.instance, cursor=cursor, resources=resources) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def _evaluate_sweep(deployment: Deployment, *failed: dg.RunRequest) -> object:
    """Evaluate the sweep on an instance whose runs are those that were requested as `failed`."""
    definitions = build(deployment.config)
    schedule = definitions.resolve_schedule_def("daily_sweep")
    now = dt.datetime.now(dt.UTC)
    resources = {name: (definitions.resources or {})[name] for name in schedule.required_resource_keys}
    with (
        # A schedule context opens its instance by reference, which an in-memory instance does not have.
        dg.DagsterInstance.local_temp() as instance,
        dg.build_schedule_context(instance, scheduled_execution_time=now, resources=resources) as context,
    ):
        for request in failed:
            tags = {**request.tags, KEY_TAG: str(request.partition_key)}
            status = dg.DagsterRunStatus.FAILURE
            instance.add_run(dg.DagsterRun("load_landed_files", str(uuid.uuid4()), tags=tags, status=status))
            instance.add_dynamic_partitions("landed_files", [str(request.partition_key)])
        return schedule(context)


def _sweep(deployment: Deployment) -> list[str | None]:
    result = _evaluate_sweep(deployment)
    return [request.partition_key for request in result] if isinstance(result, list) else []


def _run_keys(tick: dg.SensorResult) -> list[str | None]:
    return [request.run_key for request in tick.run_requests or []]


def test_new_and_overwritten_files_are_requested_once(deployment: Deployment) -> None:
    """A new version is requested with name@generation as run key; the next tick requests nothing."""
    cursor = _tick(deployment).cursor
    first = deployment.land("a.csv", make_file(make_row()))
    tick = _tick(deployment, cursor)
    assert _run_keys(tick) == [f"a.csv@{first}"]

    assert _run_keys(_tick(deployment, tick.cursor)) == []

    second = deployment.land("a.csv", make_file(make_row(price="1.00")))
    assert _run_keys(_tick(deployment, tick.cursor)) == [f"a.csv@{second}"]


def test_objects_that_are_not_files_are_left_alone(deployment: Deployment) -> None:
    """Empty and unfinished objects are skipped; the message says what was checked, and gives each reason once."""
    cursor = _tick(deployment).cursor
    for name, content in (("empty.csv", b""), ("a.csv.tmp", b"x"), (".hidden.csv", b"x")):
        deployment.land(name, content)

    tick = _tick(deployment, cursor)

    assert "No new files among 4 objects in gs://" in str(tick.skip_reason)
    assert "'empty.csv' (it is empty)" in str(tick.skip_reason)


def test_sweep_reports_what_is_left_alone(deployment: Deployment) -> None:
    """A sweep that requests nothing names what is not loaded."""
    deployment.materialize("transactions.csv")
    deployment.land("UPPER.CSV", make_file(make_row()))
    deployment.land("notes.txt", b"x")
    assert _sweep(deployment) == ["UPPER.CSV"]
    deployment.materialize("UPPER.CSV")

    skipped = _evaluate_sweep(deployment)

    assert isinstance(skipped, dg.SkipReason)
    assert "Left alone: 'notes.txt' (its name does not end in .csv, .csv.gz, .tsv, .zip or .zst)." in str(
        skipped.skip_message
    )


def test_sweep_requests_what_a_ledger_lacks(deployment: Deployment) -> None:
    """The sweep requests a landed version that one store has not loaded, and nothing once all have it."""
    deployment.load("a.csv", make_row())
    deployment.materialize("transactions.csv")
    assert _sweep(deployment) == []

    deployment.pg.execute(f"DELETE FROM {deployment.pg_table}_loads WHERE source_file = 'a.csv'")

    assert _sweep(deployment) == ["a.csv"]


def test_sweep_loads_again_under_other_rules(deployment: Deployment) -> None:
    """After the rules changed, the sweep requests the oldest files, up to the limit, and the run loads them again."""
    deployment.configure({"orchestration": {"reload_limit": 1}})
    deployment.load("a.csv", make_row(), make_row(transaction_id="T002", price="0.50"))
    deployment.load("b.csv", make_row())
    deployment.materialize("transactions.csv")
    assert _sweep(deployment) == []

    deployment.configure({"ingestion": {"validation": {"min_price": "1"}}})
    requested = _sweep(deployment)

    # The sample landed first, when the stack started.
    assert requested == ["transactions.csv"]
    deployment.materialize("transactions.csv")
    assert _sweep(deployment) == ["a.csv"]
    deployment.materialize("a.csv")
    assert len(deployment.rows_everywhere("a.csv")) == 1
    assert _sweep(deployment) == ["b.csv"]


def test_sweep_does_not_wait_for_files_that_fail_under_the_new_rules(deployment: Deployment) -> None:
    """A file that failed under the new rules is tried again after the others, so that it does not hold them up."""
    deployment.configure({"orchestration": {"reload_limit": 1}})
    deployment.load("a.csv", make_row())
    deployment.materialize("transactions.csv")
    deployment.configure({"ingestion": {"validation": {"min_price": "1"}}})
    first = _evaluate_sweep(deployment)
    assert isinstance(first, list)

    second = _evaluate_sweep(deployment, *first)
    assert isinstance(second, list)

    assert [request.partition_key for request in (*first, *second)] == ["transactions.csv", "a.csv"]
    third = _evaluate_sweep(deployment, *first, *second)
    assert isinstance(third, list)
    assert [request.partition_key for request in third] == ["transactions.csv"]


def test_sweep_that_may_not_load_again(deployment: Deployment) -> None:
    """With a limit of 0, the sweep says how many files are left under other rules."""
    deployment.configure({"orchestration": {"reload_limit": 0}})
    deployment.materialize("transactions.csv")
    deployment.configure({"ingestion": {"validation": {"min_price": "1"}}})

    skipped = _evaluate_sweep(deployment)

    assert isinstance(skipped, dg.SkipReason)
    assert "1 files were loaded under other rules or another key; 0 are loaded again now." in str(skipped.skip_message)


def test_objects_of_another_format_are_not_counted(deployment: Deployment) -> None:
    """After a change of the lake's format, only what has not been loaded in the new format is requested."""
    deployment.configure({"data_lake": {"format": "parquet"}})
    deployment.load("a.csv", make_row())
    deployment.materialize("transactions.csv")
    assert _sweep(deployment) == []
    deployment.configure({"data_lake": {"format": "csv"}})

    deployment.load("a.csv", make_row(price="1.00"))

    assert _sweep(deployment) == ["transactions.csv"]


def test_copied_object_of_an_older_version(deployment: Deployment) -> None:
    """If two objects name one source file, the newer generation counts, in whichever order they are listed."""
    deployment.load("a.csv", make_row())
    folder = f"{deployment.config.data_lake.path}"
    older = deployment.bucket.get_blob(f"{folder}/a/processed.csv")
    assert older is not None
    for copy in ("0-before", "z-after"):
        blob = deployment.bucket.blob(f"{folder}/{copy}/processed.csv")
        blob.metadata = older.metadata
        blob.upload_from_string(older.download_as_bytes())
    deployment.materialize("transactions.csv")

    deployment.load("a.csv", make_row(price="1.00"))

    assert _sweep(deployment) == []


def test_many_small_files_share_a_run(deployment: Deployment) -> None:
    """Many small files are requested as one range of partitions, which loads them all, and not requested again."""
    cursor = _tick(deployment).cursor
    names = [f"{n:02d}.csv" for n in range(FEW_FILES + 2)]
    for name in names:
        deployment.land(name, make_file(make_row()))

    tick = _tick(deployment, cursor)
    assert isinstance(tick, dg.SensorResult)
    (request,) = tick.run_requests or []
    (registration,) = tick.dynamic_partitions_requests or []
    deployment.instance.add_dynamic_partitions("landed_files", list(registration.partition_keys))
    result = deployment.materialize(None, tags=request.tags)

    assert result.success
    assert [len(deployment.rows_everywhere(name)) for name in names] == [1] * len(names)
    assert _run_keys(_tick(deployment, tick.cursor)) == []


def test_lost_cursor(deployment: Deployment) -> None:
    """A sensor that lost its cursor requests what the ledgers lack, and nothing else."""
    deployment.load("a.csv", make_row())
    deployment.land("b.csv", make_file(make_row()))
    deployment.materialize("transactions.csv")

    (key,) = _run_keys(_tick(deployment, "damaged"))

    assert str(key).startswith("b.csv@")


def test_dated_names(deployment: Deployment) -> None:
    """If names begin with their date, a tick lists only what can be new."""
    deployment.configure({"data_lake": {"landing_dates": "%Y/%m/%d/", "landing_late_days": 2}})
    today = dt.datetime.now(dt.UTC)
    days = [(today - dt.timedelta(days=days)).strftime("%Y/%m/%d") for days in (0, 1, 30)]
    for day in days:
        deployment.land(f"{day}/a.csv", make_file(make_row()))
    first = _tick(deployment)
    assert len(_run_keys(first)) == len([*days, "transactions.csv"])

    second = _tick(deployment, first.cursor)

    # The name without a date sorts after every date.
    assert "No new files among 3 objects" in str(second.skip_reason)


def test_dated_names_after_an_outage(deployment: Deployment) -> None:
    """A sensor that was off for longer than the lookback lists from where it stopped."""
    deployment.configure({"data_lake": {"landing_dates": "%Y/%m/%d/", "landing_late_days": 2}})
    cursor = json.loads(_tick(deployment).cursor or "")
    cursor["mark"] -= 20 * 24 * 3600 * 1_000_000
    day = (dt.datetime.now(dt.UTC) - dt.timedelta(days=10)).strftime("%Y/%m/%d")
    generation = deployment.land(f"{day}/a.csv", make_file(make_row()))

    assert _run_keys(_tick(deployment, json.dumps(cursor))) == [f"{day}/a.csv@{generation}"]
