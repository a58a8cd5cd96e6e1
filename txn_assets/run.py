"""Land one file, load it and print the outcome: `txn run FILE`, `python -m txn_assets.run FILE` and `make run`.

This module runs the same job as the UI and the sensor. `cli.py` defines the options, `defs/summary.py` builds the
summary, and `defs/replacing.py` checks whether a file would replace a different one.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import dagster as dg

from txn_assets.commands.display import showing, write_summary
from txn_assets.config import PipelineConfig
from txn_assets.defs.dagster_home import prepare
from txn_assets.defs.events import LOGGER, write_line
from txn_assets.defs.jobs import LOAD
from txn_assets.defs.marts import REFRESH
from txn_assets.defs.names import prefixed
from txn_assets.defs.replacing import ReplacementError, check_replacement
from txn_assets.defs.services import share_services
from txn_assets.defs.summary import summarize, was_interrupted
from txn_assets.environment import config_path, local_endpoints, txn_executor, txn_home, txn_target, writes_json
from txn_assets.errors import UserError
from txn_assets.feeds.configured import find_feed
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import KEY_TAG, SUFFIXES, unusable
from txn_assets.files.checksums import crc32c
from txn_assets.job import execute
from txn_assets.local.endpoints import Endpoints, seed_from
from txn_assets.local.stack import ensure_up, find_endpoints
from txn_assets.marts.mart import marts_of
from txn_assets.stores.errors import StoreError
from txn_assets.stores.google_errors import FAULTS, explain
from txn_assets.stores.landed_names import name_limit, too_long
from txn_assets.stores.services import Services
from txn_assets.target import hash_keys

NO_RETRIES = {"dagster/max_retries": "0"}
"""Tag of runs started by hand. The daemon of `make dev` does not retry them, because the user can."""


class UsageError(UserError):
    """The file cannot be landed or loaded; the message says why and what to do."""


def run(  # noqa: PLR0913 - one for each option of the command
    file: Path,
    config: PipelineConfig,
    out: TextIO,
    *,
    feed: str | None = None,
    name: str | None = None,
    replace: bool = False,
    as_json: bool = False,
) -> int:
    """Land `file` as `name` in `feed` (default: the first) and load it, and write the summary to `out`.

    With `as_json`, the summary is an object for programs, and what happens meanwhile is shown on standard error.
    Return 1 if an asset or a check of severity ERROR failed, else 0.

    Raises:
        UsageError: the file cannot be landed.
        UserError: there is no such feed.
        ConfigError: a secret is missing or too short, or an environment variable has an unknown value.
        KeyboardInterrupt: the run was interrupted.
    """
    of = find_feed(config, feed)
    name = _landed_name(file, name, of)
    # Dagster reports wrong settings too, but in forty lines and only after the file has landed.
    config.security.hash.hashers((), hash_keys())
    txn_executor()
    started = time.monotonic()
    with showing(sys.stderr if as_json else out, of):
        LOGGER.info("configuration %s", config_path())
        endpoints = None
        if txn_target() == "local":
            LOGGER.info("local stack: %s", local_endpoints() or txn_home())
            endpoints = find_endpoints(txn_home(), seed_from(config))
        with share_services(config, endpoints) as services, _instance(config, endpoints) as instance:
            land(file, name, services.of(of), replace=replace)
            result = execute(config, instance, job=prefixed(of, LOAD), tags={KEY_TAG: name} | NO_RETRIES)
            seconds = time.monotonic() - started
            results, rows = [result], ""
            if of.is_first and marts_of(config) and result.success:
                results.append(execute(config, instance, job=REFRESH, tags=NO_RETRIES))
                # It imports both databases' clients, which a run does only when it loads.
                from txn_assets.defs.mart_rows import show_marts  # noqa: PLC0415

                rows = show_marts(services.of(of), config) if results[-1].success else ""
    if any(map(was_interrupted, results)):
        raise KeyboardInterrupt
    summary = summarize(name, results, config, of, seconds=seconds)
    if writes_json():
        write_line(summary.as_json())
    elif as_json:
        out.write(json.dumps(summary.as_json(), indent=2) + "\n")
    else:
        write_summary(out, summary.text() + (f"\n{rows}" if rows else ""))
    return 0 if all(one.success for one in results) and not summary.failures else 1


def land(file: Path, name: str, services: Services, *, replace: bool) -> None:
    """Upload `file` to the landing zone as `name`, unless the same bytes are already there.

    Raises:
        UsageError: the landing zone or a store fails, or the file would replace unrelated rows and `replace` is false.
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
            LOGGER.info("%s has already landed", version)
    except ReplacementError as error:
        raise UsageError(str(error)) from error
    except StoreError as error:
        message = f"{file} is not landed: {error}"
        raise UsageError(message) from error
    except FAULTS as error:
        message = f"{file} is not landed: {explain(error, landing.address)}"
        raise UsageError(message) from error


def _landed_name(file: Path, name: str | None, feed: Feed) -> str:
    if not file.is_file():
        message = f"There is no file {file}. Give the path of a CSV file: `txn run FILE` or `make run FILE=...`."
        raise UsageError(message)
    if not os.access(file, os.R_OK):
        message = f"{file} cannot be read: its permissions do not allow it."
        raise UsageError(message)
    name = file.name if name is None else name
    if not name.lower().endswith(SUFFIXES) or unusable(name):
        message = (
            f"{name!r} cannot be landed. Names end in {', '.join(SUFFIXES)}, fit on one line, do not contain "
            "'...', have no invisible characters, and no segment '..'."
        )
        raise UsageError(message)
    if refusal := too_long(name, name_limit(feed)):
        raise UsageError(refusal)
    return name


def _instance(config: PipelineConfig, endpoints: Endpoints | None) -> dg.DagsterInstance:
    """Return the instance in DAGSTER_HOME, or the instance of `txn dev` if the variable is not set.

    Raises:
        UsageError: DAGSTER_HOME is not a usable folder.
    """
    if not os.environ.get("DAGSTER_HOME"):
        if endpoints is None or local_endpoints():
            # Servers that run elsewhere have no instance for this command, which `ensure_up` says.
            endpoints = ensure_up(txn_home(), seed_from(config))
        os.environ["DAGSTER_HOME"] = str(prepare(txn_home(), endpoints))
    try:
        return dg.DagsterInstance.get()
    except dg.DagsterError as error:
        message = f"DAGSTER_HOME cannot be used: {str(error).splitlines()[0].rstrip('.')}."
        raise UsageError(message) from error


if __name__ == "__main__":
    from txn_assets.cli import main

    sys.exit(main(["run", *sys.argv[1:]]))
