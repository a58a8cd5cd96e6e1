"""What pods write to standard output: one JSON object per event, and the cause of every error.

The processes start as the values and the chart start them, with local services in place of Google's.
"""

import json
import logging
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from txn_assets.definitions import build
from txn_assets.defs import json_lines
from txn_assets.defs.jobs import LOAD
from txn_assets_tests.deploy.processes import code_server, environment, execute
from txn_assets_tests.deploy.run_jobs import launched
from txn_assets_tests.deploy.values_files import Values, merged
from txn_assets_tests.deployment import SINKS, Deployment, make_file, make_row

NO_BUCKET = "no-such-bucket"


@pytest.fixture
def dagster_home(tmp_path: Path) -> Path:
    """Return a DAGSTER_HOME whose dagster.yaml says what the chart makes of `pythonLogs`."""
    home = tmp_path / "dagster-home"
    home.mkdir()
    logs = merged("prod")["pythonLogs"]
    content = {"python_log_level": logs["pythonLogLevel"]}
    if "dagsterHandlerConfig" in logs:
        content["dagster_handler_config"] = logs["dagsterHandlerConfig"]
    (home / "dagster.yaml").write_text(yaml.safe_dump({"python_logs": content, "telemetry": {"enabled": False}}))
    return home


@pytest.fixture
def prod() -> Values:
    """Return the production values."""
    return merged("prod")


def test_run_pod_writes_each_event_once_as_json(
    prod: Values, deployment: Deployment, dagster_home: Path, stack_home: Path
) -> None:
    """A run pod writes one line of JSON for each event of its run, Dagster's and ours, and nothing else."""
    deployment.land("a.csv", make_file(make_row(), make_row(product="")))
    done, events = run_as_a_pod(prod, deployment, dagster_home, stack_home)
    assert done.returncode == 0, done.stdout + done.stderr
    messages = [
        (entry.step_key, entry.user_message.removeprefix("a.csv: "))
        for entry in events
        if int(entry.level) >= logging.INFO and not entry.is_dagster_event
    ]
    lines = Counter(
        (line.get("stage") or line.get("step"), line["message"]) for line in _objects(done.stdout + done.stderr)
    )
    assert len(messages) >= len(SINKS) + 3
    assert lines == Counter(messages)


def test_failed_run_pod_writes_the_cause_once(
    prod: Values, deployment: Deployment, dagster_home: Path, stack_home: Path
) -> None:
    """The log of a failed run is one line of JSON per event too, and one of them has the traceback of the cause."""
    deployment.land("a.csv", b"not,a,transaction,file\n")
    done, events = run_as_a_pod(prod, deployment, dagster_home, stack_home)
    assert done.returncode == 1
    lines = list(_objects(done.stdout + done.stderr))
    (cause,) = [line["traceback"] for line in lines if "traceback" in line]
    assert "a.csv is not a transaction file: its header lacks the columns" in cause
    failures = [entry for entry in events if int(entry.level) >= logging.ERROR and entry.is_dagster_event]
    assert Counter(line["message"] for line in lines if "event" in line) == Counter(
        entry.get_dagster_event().message for entry in failures
    )


def run_as_a_pod(
    values: Values, deployment: Deployment, dagster_home: Path, stack_home: Path
) -> tuple[subprocess.CompletedProcess[str], Sequence[dg.EventLogEntry]]:
    """Load a.csv with the command of a run pod; return what it wrote and the events of its run."""
    variables = environment(
        values,
        TXN_TARGET="local",
        TXN_CONFIG=str(deployment.config_path),
        TXN_HOME=str(stack_home),
        BUCKET_NAME=deployment.config.data_lake.gcs_bucket,
        DAGSTER_HOME=str(dagster_home),
    )
    job = build(deployment.config).resolve_job_def(LOAD)
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        manifest = launched(values, instance, job, {"dagster/partition": "a.csv"})
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        done = execute(container.get("command") or container["args"], variables)
        (run,) = instance.get_runs()
        assert run.run_id in done.stdout, done.stderr
        return done, instance.all_logs(run.run_id)


def test_cause_of_a_sensor_error_is_in_the_code_server_log(
    prod: Values, deployment: Deployment, dagster_home: Path, stack_home: Path, tmp_path: Path
) -> None:
    """If a sensor raises, the code server writes the cause with its traceback as one line of JSON."""
    variables = environment(
        prod,
        TXN_CONFIG=str(deployment.config_path),
        TXN_HOME=str(tmp_path / "scratch"),
        TXN_PG_PASSWORD="from a Secret",
        BUCKET_NAME=NO_BUCKET,
        DAGSTER_HOME=str(dagster_home),
        STORAGE_EMULATOR_HOST=deployment.endpoints.gcs_url,
    )
    with code_server(prod, tmp_path, variables) as (port, log):
        command = ["dagster", "sensor", "preview", "new_landed_files"]
        done = execute([*command, "--grpc-host", "127.0.0.1", "--grpc-port", str(port)], variables)
        lines = list(_objects(log.read_text()))
    shown = done.stdout + done.stderr
    assert "error ID" in shown, shown
    assert NO_BUCKET not in shown

    (error,) = [line for line in lines if "error ID" in line["message"] and "traceback" in line]
    assert f"Failure: GCS bucket {NO_BUCKET} cannot be used: Not Found." in error["traceback"]
    assert error["level"] == "ERROR"
    error_id = error["message"].rpartition(" ")[2]
    assert error_id in shown


def test_dagster_without_its_private_console(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If Dagster no longer has the console that is replaced, one line of JSON says so, and nothing fails."""
    monkeypatch.setenv("TXN_LOG_FORMAT", "json")
    monkeypatch.setattr(json_lines, "_loggers", None)
    errors = logging.getLogger(json_lines.REDACTED_ERRORS)
    monkeypatch.setattr(errors, "handlers", [])
    monkeypatch.setattr(errors, "propagate", errors.propagate)

    json_lines.install()

    (line,) = _objects(capsys.readouterr().out)
    assert line["level"] == "WARNING"
    assert "has no dagster._loggers.colored_console_logger" in line["message"]


def _objects(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        assert line.startswith("{"), output
        content = json.loads(line)
        # Dagster's code server calls the message `event`.
        yield content if "message" in content else {"message": content["event"]}
