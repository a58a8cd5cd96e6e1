"""`txn restore`: land a file again that retention has archived. `stores/landing/archive.py` copies it."""

import argparse
import sys

from txn_assets.commands import Commands
from txn_assets.errors import UserError


def add(commands: Commands) -> None:
    """Add the command."""
    restore = commands.add_parser(
        "restore",
        description="Land archived files again, as new versions: the sensor has them loaded. The archive keeps them.",
        epilog="exit code: 0 if each file has landed, else 1",
    )
    restore.add_argument("names", nargs="+", metavar="NAME", help="names of files in the landing zone")
    restore.add_argument("--feed", help="only files of this feed (default: all feeds)")
    restore.set_defaults(call=_restore)


def _restore(given: argparse.Namespace) -> int:
    from txn_assets.commands.asking import asking  # noqa: PLC0415 - imports the clients

    with asking(given) as asked:
        archives = [(services.archive, services.landing) for services in map(asked.services.of, asked.feeds)]
        if not any(archive for archive, _ in archives):
            message = "No archive is configured: name its bucket in retention.archive_bucket."
            raise UserError(message)
        for name in given.names:
            found = [(one, landing, version) for one, landing in archives if one and (version := one.newest(name))]
            if not found:
                message = f"{name!r} is not in the archive; `txn status` says where it is."
                raise UserError(message)
            if len(found) > 1:
                message = f"{name!r} is in the archives of several feeds: choose one with --feed."
                raise UserError(message)
            ((archive, landing, version),) = found
            sys.stdout.write(f"{archive.bring_back(version, landing)} has landed from {archive.address(version)}\n")
    return 0
