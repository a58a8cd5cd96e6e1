"""`python -m txn_assets.run FILE`: land one file, load it and print the outcome. `make run` calls it.

It runs the same job as the UI and the sensor. The printed summary is in `summary.py`; the check before one file
replaces another is in `replacing.py`.
"""

import argparse
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import dagster as dg

from txn_assets.config import PipelineConfig, load_config
from txn_assets.definitions import build
from txn_assets.defs.events import LOGGER, Event
from txn_assets.defs.jobs import load_landed_files
from txn_assets.defs.replacing import ReplacementError, check_replacement
from txn_assets.defs.services import share_services
from txn_assets.defs.summary import find_failures, summarize, was_interrupted
from txn_assets.environment import ConfigError, hash_key, project_root, txn_home, txn_target
from txn_assets.files.arrival import KEY_TAG, SUFFIXES, is_partition_key
from txn_assets.files.checksums import crc32c
from txn_assets.local.endpoints import seed_from
from txn_assets.local.stack import LocalStackError, ensure_up
from txn_assets.rows.hashing import make_hasher
from txn_assets.stores.errors import StoreError
from txn_assets.stores.google_errors import FAULTS, explain
from txn_assets.stores.landed_names import name_limit, too_long
from txn_assets.stores.services import Services

NO_RETRIES = {"dagster/max_retries": "0"}
"""Tag of runs started by hand: the person can rerun them, so the daemon of `make dev` does not retry them."""


class UsageError(Exception):
    """The command cannot do what was asked; the message says why and what to do."""


class Progress(logging.Handler):
    """Print each event of the run as it happens, except warnings, which the summary repeats."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(logging.DEBUG)
        self.out = out
        self.started = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            if event.level >= logging.WARNING:
                return
            message = f"{event.stage:<26} {event.message}"
        else:
            message = record.getMessage()
        self.out.write(f"{time.monotonic() - self.started:7.1f} s  {message}\n")
        self.out.flush()


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m txn_assets.run", description="Land a CSV file and load it.")
    parser.add_argument("file", nargs="?", type=Path, default=project_root() / "data" / "transactions.csv")
    parser.add_argument("--name", help="land the file under this name instead of its own")
    parser.add_argument("--replace", action="store_true", help="replace rows that were loaded under the same name")
    given = parser.parse_args()
    try:
        return run(given.file, load_config(), sys.stdout, name=given.name, replace=given.replace)
    except (ConfigError, LocalStackError, UsageError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130


def run(file: Path, config: PipelineConfig, out: TextIO, *, name: str | None = None, replace: bool = False) -> int:
    """Land `file` as `name` and load it; return 1 if an asset or a check of severity ERROR failed, else 0.

    Raises:
        UsageError: the file cannot be landed.
        ConfigError: a secret is missing or too short.
        KeyboardInterrupt: the run was interrupted.
    """
    name = _landed_name(file, name, config)
    # Dagster reports missing secrets too, but in forty lines and only after the file has landed.
    make_hasher(config.security, hash_key())
    progress = Progress(out)
    LOGGER.addHandler(progress)
    LOGGER.setLevel(logging.DEBUG)
    try:
        if txn_target() == "local":
            LOGGER.info("local stack below %s", txn_home())
        with share_services(config) as services:
            land(file, name, services, replace=replace)
            with _instance(config) as instance:
                result = execute(config, instance, tags={KEY_TAG: name} | NO_RETRIES)
    finally:
        LOGGER.removeHandler(progress)
    if was_interrupted(result):
        raise KeyboardInterrupt
    seconds = time.monotonic() - progress.started
    out.write(summarize(name, result, config, seconds=seconds))
    return 1 if any(find_failures(result)) or not result.success else 0


def execute(config: PipelineConfig, instance: dg.DagsterInstance, **options: Any) -> dg.JobExecutionResult:  # noqa: ANN401 - passed on to execute_job
    """Run `load_landed_files` in this process with its executor, as a run launcher does in another process.

    `options` are passed to `dagster.execute_job`.
    """
    job = dg.build_reconstructable_job("txn_assets.run", "define_job", (config.model_dump_json(by_alias=True),))
    # Dagster's own console logger would repeat every event; the UI shows them.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return dg.execute_job(job, instance, run_config=quiet, **options)


def define_job(config: str) -> dg.JobDefinition:
    """Return `load_landed_files` for `config`, a JSON string; `execute` refers to this function by name."""
    return build(PipelineConfig.model_validate_json(config)).resolve_job_def(load_landed_files.name)


def land(file: Path, name: str, services: Services, *, replace: bool) -> None:
    """Upload `file` to the landing zone as `name`, unless the same bytes are already there.

    Raises:
        UsageError: the landing zone or a store fails, or the file would replace other rows and `replace` is false.
    """
    landing = services.landing
    try:
        version = landing.latest(name)
        if replaces := check_replacement(file, name, services, is_asked_for=replace):
            LOGGER.info("%s %s", name, replaces)
        if version is None or version.crc32c != crc32c(file):
            version = landing.upload(file, name)
            LOGGER.info("landed %s as %s", file, version)
        else:
            LOGGER.info("%s has landed already", version)
    except ReplacementError as error:
        raise UsageError(str(error)) from error
    except StoreError as error:
        message = f"{file} is not landed: {error}"
        raise UsageError(message) from error
    except FAULTS as error:
        message = f"{file} is not landed: {explain(error, landing.address)}"
        raise UsageError(message) from error


def _landed_name(file: Path, name: str | None, config: PipelineConfig) -> str:
    if not file.is_file():
        message = f"There is no file {file}: give the path of a CSV file, as in `make run FILE=path/to/file.csv`."
        raise UsageError(message)
    name = file.name if name is None else name
    if not name.lower().endswith(SUFFIXES) or not is_partition_key(name):
        message = f"{name!r} cannot be landed: a landed file is named *.csv or *.csv.gz, in one line, without '...'."
        raise UsageError(message)
    if refusal := too_long(name, name_limit(config.data_lake)):
        raise UsageError(refusal)
    return name


def _instance(config: PipelineConfig) -> dg.DagsterInstance:
    """Return the instance of DAGSTER_HOME, or that of `make dev` if the variable is not set."""
    if not os.environ.get("DAGSTER_HOME"):
        from txn_assets.defs.dagster_home import prepare  # noqa: PLC0415 - not needed in the cluster

        os.environ["DAGSTER_HOME"] = str(prepare(txn_home(), ensure_up(txn_home(), seed_from(config))))
    return dg.DagsterInstance.get()


if __name__ == "__main__":
    sys.exit(main())
