"""`txn run`, `txn check` and `txn contract`: load a file, try it, and say what a valid one is."""

import argparse
import sys
from pathlib import Path

from txn_assets.commands import Commands
from txn_assets.commands.options import as_json
from txn_assets.config import load_config
from txn_assets.environment import project_root
from txn_assets.errors import UserError
from txn_assets.feeds.configured import find_feed
from txn_assets.feeds.feed import FIRST_FEED


def add(commands: Commands) -> None:
    """Add the commands."""
    run = commands.add_parser("run", description="Land a CSV file, load it into the three stores, and show the result.")
    sample = project_root() / "data" / "transactions.csv"
    run.add_argument("file", nargs="?", type=Path, default=sample, help="*.csv or *.csv.gz (default: %(default)s)")
    run.add_argument("--feed", help="the feed of the file (default: the first one, transactions)")
    run.add_argument("--name", help="land the file under this name instead of its own")
    run.add_argument("--replace", action="store_true", help="replace what was loaded under the same name")
    run.add_argument(
        "--json", action="store_true", help="print an object for programs; progress goes to standard error"
    )
    run.set_defaults(call=_run)

    check = commands.add_parser(
        "check",
        description="Validate a file as a load would, without landing it. Start nothing and write nothing.",
        epilog="exit code: 0 if all rows are valid, 1 if some are not or a check fails, 2 if the file cannot be read",
    )
    check.add_argument("file", type=Path, help="the file to try")
    check.add_argument("--feed", default=FIRST_FEED, help="the feed that the file is for (default: %(default)s)")
    check.add_argument("--json", action="store_true", help="print an object for programs")
    check.add_argument("--explain", type=int, metavar="ROW", help="show the verdict on this record, counted from 1")
    check.set_defaults(call=_check)

    contract = commands.add_parser("contract", description="Print the contract of a feed for those who send its files.")
    contract.add_argument("--feed", help=f"the feed (default: {FIRST_FEED})")
    contract.add_argument(
        "--format",
        choices=("json-schema", "odcs", "markdown", "dbt-sources"),
        default="markdown",
        help="default: %(default)s",
    )
    contract.set_defaults(call=_contract)


def _run(given: argparse.Namespace) -> int:
    from txn_assets.run import run  # noqa: PLC0415 - Dagster takes a second to import

    options = {"feed": given.feed, "name": given.name, "replace": given.replace, "as_json": given.json}
    return run(given.file, load_config(), sys.stdout, **options)


def _check(given: argparse.Namespace) -> int:
    from txn_assets.senders.check import UNREADABLE, check, refusal  # noqa: PLC0415 - imports Arrow
    from txn_assets.senders.explain import explain  # noqa: PLC0415 - as above

    try:
        feed = find_feed(load_config(), given.feed)
        outcome = check(given.file, feed) if given.explain is None else explain(given.file, feed, given.explain)
    except UserError as error:
        if given.json:
            sys.stdout.write(as_json(refusal(given.file, given.feed, error)))
        else:
            sys.stderr.write(f"{error}\n")
        return UNREADABLE
    sys.stdout.write(as_json(outcome.as_json()) if given.json else outcome.text())
    return outcome.exit_code


def _contract(given: argparse.Namespace) -> int:
    from txn_assets.senders.contract import FORMATS  # noqa: PLC0415 - only this command needs the standard
    from txn_assets.senders.dbt_sources import dbt_sources  # noqa: PLC0415 - as above

    config = load_config()
    feed = find_feed(config, given.feed)
    text = (
        dbt_sources(config, feed)
        if given.format == "dbt-sources"
        else FORMATS[given.format](feed, config.data_lake.gcs_bucket)
    )
    sys.stdout.write(text)
    return 0
