"""`txn replay`: have Dagster load files again. `runs/replay.py` chooses the files and requests the runs."""

import argparse
import sys
from typing import TYPE_CHECKING

from txn_assets.commands import Commands
from txn_assets.commands.options import positive
from txn_assets.errors import UserError

if TYPE_CHECKING:
    from txn_assets.commands.asking import Asked
    from txn_assets.files.ledger import FileVersion
    from txn_assets.runs.dagster_client import DagsterClient
    from txn_assets.runs.replay import Choice
    from txn_assets.stores.services import Services

SHOWN_FILES = 20


def add(commands: Commands) -> None:
    """Add the command."""
    replay = commands.add_parser(
        "replay",
        description="Have Dagster load landed files again. A version that is loaded already changes no row.",
        epilog="exit code: 0 if the runs are requested, or there is nothing to load again, else 1",
    )
    replay.add_argument("names", nargs="*", metavar="NAME", help="names of files in the landing zone")
    which = replay.add_mutually_exclusive_group()
    which.add_argument(
        "--rules-changed",
        action="store_true",
        help="files that were loaded under other rules or with another key, as the nightly sweep takes them",
    )
    which.add_argument("--failed", action="store_true", help="files whose newest run failed, or that are stuck")
    replay.add_argument("--feed", help="only files of this feed (default: all feeds)")
    replay.add_argument("--limit", type=positive, metavar="N", help="at most N files of each feed, the oldest first")
    replay.add_argument("--dry-run", action="store_true", help="list the files and request nothing")
    replay.set_defaults(call=_replay)


def _replay(given: argparse.Namespace) -> int:
    if bool(given.names) == (given.rules_changed or given.failed):
        message = "Name the files to load again, or give either --rules-changed or --failed."
        raise UserError(message)
    from txn_assets.commands.asking import NO_DAGSTER, asking  # noqa: PLC0415 - imports the clients

    with asking(given) as asked:
        dagster = asked.dagster
        if dagster is None:
            message = f"{NO_DAGSTER}: it runs the loads. `txn run FILE` loads a file without it."
            raise UserError(message)
        named = _find_named(asked, given.names)
        count = 0
        for feed in asked.feeds:
            services = asked.services.of(feed)
            count += _replay_feed(given, services, dagster, named.get(feed.name, []))
    if not count:
        sys.stdout.write("Nothing to load again.\n")
    return 0


def _replay_feed(
    given: argparse.Namespace, services: "Services", dagster: "DagsterClient", named: "list[FileVersion]"
) -> int:
    """Request the runs for the files of a feed; return how many files that are."""
    from txn_assets.runs.replay import request_runs  # noqa: PLC0415 - imports the clients

    choice = _choose(given, services, dagster, named)
    for version in choice.in_runs:
        sys.stdout.write(f"A run is about to load {version}.\n")
    versions = choice.versions[: given.limit]
    if not versions:
        return len(choice.in_runs)
    more = len(choice.versions) - len(versions)
    heading = "Would load again" if given.dry_run else "Load again"
    later = f", {more:,} more without --limit" if more else ""
    sys.stdout.write(f"{heading} from {services.feed.name} (files: {len(versions):,}{later})\n")
    sys.stdout.writelines(f"  {version}\n" for version in versions[:SHOWN_FILES])
    if len(versions) > SHOWN_FILES:
        sys.stdout.write(f"  and {len(versions) - SHOWN_FILES:,} more\n")
    if not given.dry_run:
        for url in request_runs(dagster, services, versions, is_reload=given.rules_changed):
            sys.stdout.write(f"  run {url}\n")
    return len(versions)


def _choose(
    given: argparse.Namespace, services: "Services", dagster: "DagsterClient", named: "list[FileVersion]"
) -> "Choice":
    from txn_assets.runs.replay import choose_failed, choose_named, choose_outdated  # noqa: PLC0415 - as above

    if given.failed:
        return choose_failed(services, dagster)
    return choose_outdated(services, dagster) if given.rules_changed else choose_named(services, named, dagster)


def _find_named(asked: "Asked", names: list[str]) -> "dict[str, list[FileVersion]]":
    """Return the landed versions of the files `names`, by feed.

    Raises:
        UserError: one of them is not in a landing zone.
    """
    from txn_assets.runs.files import gone_file, unknown_file  # noqa: PLC0415 - imports the clients

    found: dict[str, list[FileVersion]] = {}
    for name in dict.fromkeys(names):
        versions = {feed.name: asked.services.of(feed).landing.latest(name) for feed in asked.feeds}
        landed = {feed: version for feed, version in versions.items() if version}
        if not landed:
            raise gone_file(asked.services, asked.feeds, name) or unknown_file(asked.services, asked.feeds, name)
        if len(landed) > 1:
            message = f"{name!r} has landed in several feeds: choose one with --feed {' or '.join(landed)}."
            raise UserError(message)
        for feed, version in landed.items():
            found.setdefault(feed, []).append(version)
    return found
