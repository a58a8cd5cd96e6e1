"""`txn rotate`: how far a rotation of the hash key is, and the loads that continue it.

`runs/rotation.py` reads the ledgers, and `runs/replay.py` requests the runs.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from txn_assets.commands import Commands
from txn_assets.commands.options import as_json, positive, read_value
from txn_assets.errors import UserError
from txn_assets.files.shown import printable

if TYPE_CHECKING:
    from txn_assets.files.rotation import Rotation
    from txn_assets.runs.replay import Choice
    from txn_assets.runs.rotation import FeedKeys
    from txn_assets.stores.services import Services

SHOWN_FILES = 20

UNFINISHED = 3
"""Exit code while files are under another key than the current one."""


def add(commands: Commands) -> None:
    """Add the commands."""
    rotate = commands.add_parser(
        "rotate",
        description="Replace the hash key: see how many files and rows each store has under which key, and have files "
        "under another key than the current one loaded again.",
    )
    which = rotate.add_subparsers(dest="rotate", metavar="COMMAND", required=True)
    status = which.add_parser(
        "status",
        description="Show files and rows of each store by key, which files are under another key than the current one, "
        "and whether the previous key is still needed.",
        epilog="exit code: 0 if all files, rejected rows and erasure requests are under the current key, "
        f"1 if the command failed, else {UNFINISHED}",
    )
    run = which.add_parser(
        "run",
        description="Have Dagster load files under another key again, the oldest first.",
        epilog="exit code: 0 if the runs are requested, or there is nothing to load again, else 1",
    )
    run.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="at most N files of each feed (default: orchestration.reload_limit)",
    )
    for command, call in ((status, _status), (run, _run)):
        command.add_argument("--feed", help="only this feed (default: all feeds)")
        command.add_argument("--json", action="store_true", help="print an object for programs")
        command.set_defaults(call=call)
    digests = which.add_parser(
        "digests",
        description="Print the hash of a value under each key, to look for its rows while both keys are in use. The "
        "value comes from standard input, never from an argument; on a terminal it is asked for and not shown.",
    )
    digests.add_argument("--feed", help="the feed of the rows (default: the first feed)")
    digests.add_argument("--field", required=True, help="the PII field that has the value")
    digests.set_defaults(call=_digests)


def _status(given: argparse.Namespace) -> int:
    from txn_assets.commands.asking import asking  # noqa: PLC0415 - imports the clients
    from txn_assets.runs.rotation import read_keys  # noqa: PLC0415 - as above

    with asking(given) as asked:
        feeds = [read_keys(asked.services.of(feed)) for feed in asked.feeds]
        _, *before = asked.services.of(asked.feeds[0]).run_files.hashers
    previous = before[0].key_id if before else None
    if given.json:
        content = {
            "feeds": {one.feed: _as_json(one) for one in feeds},
            "previous": previous,
            "previous_needed_by": _needs(previous, feeds) if previous else [],
        }
        sys.stdout.write(as_json(content))
    else:
        sys.stdout.writelines(_text(one, previous) for one in feeds)
        sys.stdout.write(_verdict(previous, feeds))
    return 0 if all(one.is_done for one in feeds) else UNFINISHED


def _needs(key_id: str, feeds: "list[FeedKeys]") -> list[str]:
    return [need for one in feeds for need in one.needs(key_id)]


def _verdict(previous: str | None, feeds: "list[FeedKeys]") -> str:
    """Return whether the previous key is still needed, and which older one is."""
    requests = [request for one in feeds for request in one.requests]
    lines = []
    if previous is None:
        lines.append("No previous key is configured.")
    elif needs := _needs(previous, feeds):
        lines.append(f"The previous key {previous} is still needed: {'; '.join(needs)}.")
    else:
        lines.append(
            f"The previous key {previous} is no longer needed: remove security.hash.previous and TXN_HASH_KEY_PREVIOUS."
        )
    if requests:
        lines.append("A request gets such a hash when a load meets the person, or `txn erase` the value again.")
    if lost := [request for request in requests if previous not in request.digests]:
        keys = ", ".join(sorted({key for request in lost for key in request.digests}))
        lines.append(
            f"{', '.join(request.id for request in lost)}: known only under {keys}, which is not configured, so that "
            "loads stop. Name the key in security.hash.previous."
        )
    return "\n".join(lines) + "\n"


def _text(of_feed: "FeedKeys", previous: str | None) -> str:
    """Return the figures of a feed as a table, and which files are under another key."""
    rotation = of_feed.rotation
    ids = list(dict.fromkeys([rotation.current, *(key for uses in rotation.stores.values() for key in sorted(uses))]))
    roles = {rotation.current: "current"} | ({previous: "previous"} if previous else {})
    lines = [of_feed.feed, f"  {'store':<12}{'key':<24}{'files':>10}{'rows':>16}"]
    for label, uses in rotation.stores.items():
        for key_id in ids:
            if use := uses.get(key_id):
                role = f" ({roles[key_id]})" if key_id in roles else ""
                lines.append(f"  {label:<12}{key_id + role:<24}{use.files:>10,}{use.rows:>16,}")
    lines.append(f"  {rotation.sentence() or 'Every file is hashed with the current key.'}")
    files = [f"    {printable(name)}  {', '.join(keys)}" for name, keys in rotation.keys.items()]
    lines += _first(files)
    if of_feed.quarantined:
        lines.append("  Rejected rows under another key, until the file is tried again or they are deleted:")
        lines += _first([f"    {printable(address)}  {key_id}" for address, key_id in of_feed.quarantined.items()])
    return "\n".join(lines) + "\n\n"


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN_FILES
    return [*lines[:SHOWN_FILES], f"    and {more:,} more, all with --json"] if more > 0 else lines


def _as_json(of_feed: "FeedKeys") -> dict[str, Any]:
    rotation = of_feed.rotation
    return {
        "current": rotation.current,
        "stores": {
            label: {key_id: {"files": use.files, "rows": use.rows} for key_id, use in uses.items()}
            for label, uses in rotation.stores.items()
        },
        "to_load": [str(version) for version in rotation.reloadable],
        "waiting": list(rotation.waiting),
        "gone": list(rotation.gone),
        "files": {name: list(keys) for name, keys in rotation.keys.items()},
        "quarantined": dict(of_feed.quarantined),
        "requests": {request.id: sorted(request.digests) for request in of_feed.requests},
    }


def _run(given: argparse.Namespace) -> int:
    from txn_assets.commands.asking import NO_DAGSTER, asking  # noqa: PLC0415 - imports the clients
    from txn_assets.runs.replay import choose_rotated, request_runs  # noqa: PLC0415 - as above
    from txn_assets.runs.rotation import read_rotation  # noqa: PLC0415 - as above

    content: dict[str, Any] = {}
    with asking(given) as asked:
        dagster = asked.dagster
        if dagster is None:
            message = f"{NO_DAGSTER}: it runs the loads. The nightly sweep loads such files again, too."
            raise UserError(message)
        limit = given.limit or asked.services.config.orchestration.reload_limit
        for feed in asked.feeds:
            services = asked.services.of(feed)
            rotation = read_rotation(services)
            choice = choose_rotated(services, rotation.reloadable, dagster, limit)
            urls = []
            if not given.json:
                sys.stdout.write(_chosen(services, rotation, choice))
            for url in request_runs(dagster, services, choice.versions, is_reload=True) if choice.versions else ():
                urls.append(url)
                if not given.json:
                    sys.stdout.write(f"  run {url}\n")
            content[feed.name] = {
                "files": [str(version) for version in choice.versions],
                "in_runs": [str(version) for version in choice.in_runs],
                "runs": urls,
                "left": len(rotation.reloadable) - len(choice.versions) - len(choice.in_runs),
            }
    if given.json:
        sys.stdout.write(as_json({"feeds": content}))
    return 0


def _digests(given: argparse.Namespace) -> int:
    from txn_assets.commands.asking import opened  # noqa: PLC0415 - imports the clients

    with opened() as services:
        from txn_assets.erasure.requesting import check_field, digests_of  # noqa: PLC0415 - imports the clients
        from txn_assets.feeds.configured import find_feed  # noqa: PLC0415 - as above

        own = services.of(find_feed(services.config, given.feed))
        # Before somebody types the value in vain.
        check_field(own.feed, given.field)
        digests = digests_of(own, given.field, read_value(given.field))
    sys.stdout.writelines(f"{key_id}  {digest}\n" for key_id, digest in digests.items())
    return 0


def _chosen(services: "Services", rotation: "Rotation", choice: "Choice") -> str:
    """Return which files of a feed are loaded again now, and how many are left for later."""
    name, count = services.feed.name, len(choice.versions)
    lines = [f"A run is about to load {version}." for version in choice.in_runs]
    if count:
        left = len(rotation.reloadable) - count - len(choice.in_runs)
        later = f", {left:,} more later" if left else ""
        lines.append(f"Load again from {name} under key {rotation.current} (files: {count:,}{later})")
        lines += [f"  {version}" for version in choice.versions[:SHOWN_FILES]]
        lines += [f"  and {count - SHOWN_FILES:,} more"] if count > SHOWN_FILES else []
    elif not choice.in_runs:
        lines.append(f"Nothing to load again in {name}.")
    return "\n".join(lines) + "\n"
