"""`python -m txn_assets.run FILE`: land one file, load it, and say what became of it. `make run` calls it.

Here belong the command's words and its summary. It runs the same job as the UI and the sensor.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import dagster as dg

from txn_assets.arrival import KEY_TAG, SUFFIXES, fits_a_key
from txn_assets.checksums import crc32c
from txn_assets.config import ConfigError, PipelineConfig, load_config, project_root, txn_home, txn_target
from txn_assets.definitions import build
from txn_assets.hashing import KEY_VARIABLE, make_hasher
from txn_assets.io_managers.gcs import object_name
from txn_assets.jobs import load_landed_files
from txn_assets.local.stack import LocalStackError, ensure_up, seed_from
from txn_assets.logs import LOGGER, Event
from txn_assets.resources import landing_zone

STORES = {
    "gcs_raw": "GCS",
    "bigquery_raw_transactions": "BigQuery",
    "postgres_transactions": "PostgreSQL",
}


NO_RETRIES = {"dagster/max_retries": "0"}
"""Tag of runs that a person started, who is there to start them again; the daemon of `make dev` leaves them alone."""


class UsageError(Exception):
    """The command cannot do what it was asked to; the message says why and what to do."""


class Progress(logging.Handler):
    """Prints each event as it happens, and keeps it for the summary."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(logging.DEBUG)
        self.out = out
        self.started = time.monotonic()
        self.events: list[Event] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line."""
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            self.events.append(event)
            self.out.write(f"{time.monotonic() - self.started:7.1f} s  {event.stage:<26} {event.message}\n")
        else:
            self.out.write(f"{time.monotonic() - self.started:7.1f} s  {record.getMessage()}\n")
        self.out.flush()


def main() -> int:
    """Runs the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m txn_assets.run", description="Lands a CSV file and loads it.")
    parser.add_argument("file", nargs="?", type=Path, default=project_root() / "data" / "transactions.csv")
    arguments = parser.parse_args()
    try:
        return run(arguments.file, load_config(), sys.stdout)
    except (ConfigError, LocalStackError, UsageError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        return 1


def run(file: Path, config: PipelineConfig, out: TextIO) -> int:
    """Lands and loads `file`; 1 where an asset or a check of severity ERROR failed, else 0.

    Raises:
        UsageError: the file cannot be landed.
        ConfigError: the key of the hash is missing or too short.
    """
    name = _name(file)
    # Dagster would say the same of a missing key, in forty lines and after the file has landed.
    make_hasher(config.security, os.environ.get(KEY_VARIABLE))
    progress = Progress(out)
    LOGGER.addHandler(progress)
    LOGGER.setLevel(logging.DEBUG)
    try:
        if txn_target() == "local":
            LOGGER.info("local stack below %s", txn_home())
        land(file, name)
        with _instance() as instance:
            result = execute(config, instance, tags={KEY_TAG: name} | NO_RETRIES)
    finally:
        LOGGER.removeHandler(progress)
    checks = result.get_asset_check_evaluations()
    failures = list(_failures(result, checks))
    out.write(summary(name, progress.events, checks, config, seconds=time.monotonic() - progress.started))
    out.writelines(f"FAILED  {failure}\n" for failure in failures)
    return 1 if failures or not result.success else 0


def execute(config: PipelineConfig, instance: dg.DagsterInstance, **options: Any) -> dg.JobExecutionResult:  # noqa: ANN401 - of execute_job
    """Runs `load_landed_files` in this process as a run launcher does in another, with its executor.

    `options` are those of `dagster.execute_job`.
    """
    job = dg.build_reconstructable_job("txn_assets.run", "define_job", (config.model_dump_json(by_alias=True),))
    # Dagster's own console would repeat every event; the UI has them.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return dg.execute_job(job, instance, run_config=quiet, **options)


def define_job(config: str) -> dg.JobDefinition:
    """`load_landed_files` for `config`, in JSON, as `execute` names it."""
    return build(PipelineConfig.model_validate_json(config)).resolve_job_def(load_landed_files.name)


def land(file: Path, name: str) -> None:
    """Uploads `file` to the landing zone as `name`, unless it is there already, byte for byte."""
    landing = landing_zone()
    version = landing.latest(name)
    if version is None or version.crc32c != crc32c(file):
        version = landing.upload(file, name)
        LOGGER.info("landed %s as %s", file, version)
    else:
        LOGGER.info("%s has landed already", version)


def summary(
    name: str,
    events: Iterable[Event],
    checks: Iterable[dg.AssetCheckEvaluation],
    config: PipelineConfig,
    *,
    seconds: float,
) -> str:
    """What became of the file, for a person."""
    done = {event.stage: event.details for event in events if "seconds" in event.details}
    lines = ["", f"{name}"]
    if counts := done.get("validated_transactions"):
        lines.append(f"  rows in   {counts['rows']:>12,}")
        lines.append(f"  valid     {counts['valid']:>12,}")
        lines.append(f"  rejected  {counts['rejected']:>12,}")
        lines += [f"              {event.message}" for event in events if event.level >= logging.WARNING]
    read_back = {
        check.asset_key.to_python_identifier(): check.metadata["rows_read_back"].value
        for check in checks
        if "rows_read_back" in check.metadata
    }
    for asset, store in STORES.items():
        rows = f"{read_back[asset]:>12,}" if asset in read_back else f"{'not loaded':>12}"
        action = f"  {done[asset]['action']}" if asset in done else ""
        lines.append(f"  {store:<10}{rows}{action}")
    lines += ["", "  seconds a stage"]
    lines += [f"    {stage:<26} {details['seconds']:8.2f}" for stage, details in done.items()]
    rows_in = done.get("validated_transactions", {}).get("rows", 0)
    lines.append(f"    {'all, start of Dagster included':<26} {seconds:5.2f}   {rows_in / seconds:,.0f} rows a second")
    lines += ["", *(_commands(name, config) if len(read_back) == len(STORES) else []), ""]
    return "\n".join(lines)


def _commands(name: str, config: PipelineConfig) -> list[str]:
    lake, warehouse = config.data_lake, config.data_warehouse
    python = ".venv/bin/python"
    table = f"{warehouse.dataset}.{warehouse.table}"
    target = object_name(lake.path, name, lake.format)
    query = (
        f"from google.cloud.bigquery import Client; print(*Client().query('SELECT * FROM {table} LIMIT 5'), sep='\\n')"
    )
    blob = f"from google.cloud.storage import Client; b = Client().bucket('{lake.gcs_bucket}').blob('{target}')"
    lines = ["  look inside"]
    if txn_target() == "local":
        lines.append(f'    eval "$({python} -m txn_assets.local env)"')
    return [
        *lines,
        f"    psql \"$TXN_PG_DSN\" -c 'SELECT * FROM {warehouse.postgres.table} LIMIT 5'",
        f'    {python} -c "{query}"',
        f'    {python} -c "{blob}; print(b.download_as_text()[:500])"',
        "    make dev   # the Dagster UI on http://127.0.0.1:3000",
    ]


def _failures(result: dg.JobExecutionResult, checks: Iterable[dg.AssetCheckEvaluation]) -> Iterable[str]:
    judged = set()
    for check in checks:
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR:
            judged.add(check.asset_check_key.name)
            yield f"{check.check_name}: {check.description}"
    for event in result.all_events:
        if event.is_step_failure and not any((event.step_key or "").endswith(name) for name in judged):
            yield f"{event.step_key}: {_sentence(event.step_failure_data)}"
        # Where a step failed, the run's failure says no more than that.
        if event.is_job_failure and not any(other.is_step_failure for other in result.all_events):
            yield _root(event.job_failure_data.error) or str(event.message)


def _sentence(data: Any) -> str:  # noqa: ANN401 - Dagster does not export the class
    """The message of a Failure, or of the error at the root."""
    if data.user_failure_data and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    return _root(data.error)


def _root(error: Any) -> str:  # noqa: ANN401 - likewise
    """The first line of the error at the root; empty where there is no error."""
    while error and error.cause:
        error = error.cause
    return str(error.message).strip().splitlines()[0] if error else ""


def _name(file: Path) -> str:
    if not file.is_file():
        message = f"There is no file {file}: give the path of a CSV file, as in `make run FILE=path/to/file.csv`."
        raise UsageError(message)
    if not file.name.endswith(SUFFIXES) or not fits_a_key(file.name):
        message = (
            f"{file.name!r} cannot be landed: a landed file is named *.csv or *.csv.gz, in one line, without '...'."
        )
        raise UsageError(message)
    return file.name


def _instance() -> dg.DagsterInstance:
    """The instance of DAGSTER_HOME, or the one of `make dev`."""
    if not os.environ.get("DAGSTER_HOME"):
        from txn_assets.local.dagster_home import prepare  # noqa: PLC0415 - not in the cluster

        os.environ["DAGSTER_HOME"] = str(prepare(txn_home(), ensure_up(txn_home(), seed_from(load_config()))))
    return dg.DagsterInstance.get()


if __name__ == "__main__":
    sys.exit(main())
