"""What a tick of the sensor records about the landing zone: what it has, and whether files came that are expected."""

import datetime as dt
from typing import Any

import dagster as dg
import pytest

from txn_assets.definitions import build
from txn_assets.defs import landing_events
from txn_assets_tests.deployment import Deployment, make_file, make_row

LANDING_ZONE = dg.AssetKey("landing_zone")


def tick(deployment: Deployment, cursor: str | None = None) -> tuple[list[Any], str | None]:
    """Evaluate the sensor and report its events, as the daemon does; return the events and the cursor."""
    definitions = build(deployment.config)
    sensor = definitions.resolve_sensor_def("new_landed_files")
    resources = {name: (definitions.resources or {})[name] for name in sensor.required_resource_keys}
    with dg.build_sensor_context(deployment.instance, cursor=cursor, resources=resources) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for event in result.asset_events:
        deployment.instance.report_runless_asset_event(event)
    return list(result.asset_events), result.cursor


def watch(deployment: Deployment) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the hourly job; return its checks by name."""
    job = build(deployment.config).resolve_job_def("watch_landing_zone")
    result = job.execute_in_process(instance=deployment.instance)
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def test_changes_are_recorded_once(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the landing zone is one observation, at most one in five minutes; a newer file materializes it."""
    deployment.land("transactions.csv", make_file(make_row()))
    first, cursor = tick(deployment)
    assert [type(event) for event in first] == [dg.AssetObservation, dg.AssetMaterialization]
    observed = {name: value.value for name, value in first[0].metadata.items()}
    assert (observed["objects"], observed["bytes"]) == (1, len(make_file(make_row())))
    assert str(observed["newest_version"]).startswith("transactions.csv@")

    assert tick(deployment, cursor)[0] == []
    deployment.land("b.csv", make_file(make_row()))
    deployment.land("_ignored", b"x")
    assert tick(deployment, cursor)[0] == []

    monkeypatch.setattr(landing_events, "OBSERVE_SECONDS", 0)
    later, _ = tick(deployment, cursor)
    assert [type(event) for event in later] == [dg.AssetObservation, dg.AssetMaterialization]
    assert later[0].metadata["objects"].value == 3
    assert str(later[0].metadata["newest_version"].value).startswith("b.csv@")

    deployment.bucket.blob(f"{deployment.config.data_lake.landing}/_ignored").delete()
    assert [type(event) for event in tick(deployment, cursor)[0]] == [dg.AssetObservation]


def test_missing_files_are_reported_until_they_come(deployment: Deployment) -> None:
    """The check fails while files are missing, says since when, and passes once they came; each result is one event."""
    deployment.configure({"orchestration": {"expected": {"every": "1d", "min_files": 2}}})
    deployment.land("transactions.csv", make_file(make_row()))

    events, cursor = tick(deployment)
    (failed,) = [event for event in events if isinstance(event, dg.AssetCheckEvaluation)]
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(failed.description).startswith("Only 1 landed since ")
    assert str(failed.description).endswith("; expected: at least 2 files every 1d.")
    assert tick(deployment, cursor)[0] == []
    checks = watch(deployment)
    of_checks = {name: check.passed for name, check in checks.items()}
    assert of_checks == {"file_expected": False, "no_stuck_files": True, "under_current_key": True}

    deployment.land("b.csv", make_file(make_row()))
    events, cursor = tick(deployment, cursor)
    (passed,) = [event for event in events if isinstance(event, dg.AssetCheckEvaluation)]
    assert (passed.passed, passed.description) == (True, None)
    assert tick(deployment, cursor)[0] == []
    assert watch(deployment)["file_expected"].passed


def test_dated_names(deployment: Deployment) -> None:
    """A tick that lists only the names of recent days still counts a file that landed in time under an older name."""
    deployment.configure(
        {
            "data_lake": {"landing_dates": "%Y/%m/%d/", "landing_late_days": 1},
            "orchestration": {"expected": {"every": "7d"}},
        }
    )
    day = (dt.datetime.now(dt.UTC) - dt.timedelta(days=4)).strftime("%Y/%m/%d")
    deployment.bucket.blob(f"{deployment.config.data_lake.landing}/transactions.csv").delete()
    deployment.land(f"{day}/a.csv", make_file(make_row()))
    first, cursor = tick(deployment)
    assert [event.passed for event in first if isinstance(event, dg.AssetCheckEvaluation)] == [True]

    # The second tick finds no object, and the result of the check is still the same.
    assert tick(deployment, cursor)[0] == []


def test_hourly_observation_names_what_is_not_loaded(deployment: Deployment) -> None:
    """The hourly job records the oldest file that a store lacks."""
    generation = deployment.land("transactions.csv", make_file(make_row()))
    watch(deployment)
    deployment.bucket.blob(f"{deployment.config.data_lake.landing}/transactions.csv").delete()
    watch(deployment)

    records = deployment.instance.fetch_observations(LANDING_ZONE, limit=2).records
    observations = [record.asset_observation for record in records]
    assert [one.metadata["oldest_not_loaded"].value for one in observations if one] == [
        "none",
        f"transactions.csv@{generation}",
    ]
