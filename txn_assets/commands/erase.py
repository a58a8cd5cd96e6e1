"""`txn erase`: erase the rows of a person, and prove that they are gone. `erasure/` does the work.

The value that identifies the person comes from standard input, never from an argument: other users of the machine see
the arguments of a process, and shells keep them.
"""

import argparse
import datetime as dt
import getpass
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from txn_assets.commands import Commands
from txn_assets.commands.options import as_json, read_value
from txn_assets.errors import UserError

if TYPE_CHECKING:
    from txn_assets.files.erasures import ErasureRequest
    from txn_assets.stores.services import AllServices, Services

INCOMPLETE = 1
"""Exit code if a place still has rows of a person."""

KEPT = "Landed files may have the person in clear text: erasure.landing is keep.\n"


def add(commands: Commands) -> None:
    """Add the command."""
    erase = commands.add_parser(
        "erase",
        usage="txn erase --feed FEED --field FIELD [--by NAME] < VALUE\n       txn erase list|verify|finish|withdraw",
        description="Erase the rows of a person from every store, and leave them out of every later load. The value "
        "comes from standard input, never from an argument; on a terminal it is asked for and not shown.",
        epilog="exit code: 0 if the person is in no place, 1 if rows are left or the command failed, 2 for a wrong "
        "command line",
    )
    erase.add_argument("--feed", help="the feed of the rows (default: the first feed)")
    erase.add_argument("--field", help="the PII field that identifies the person")
    erase.add_argument("--by", help="who requests it, for the record (default: the current user)")
    erase.set_defaults(call=_erase)
    actions = erase.add_subparsers(
        prog="txn erase", dest="action", metavar="ACTION", help="list, verify, finish or withdraw"
    )
    listed = actions.add_parser("list", description="List the requests, with the keys of their hashes.")
    listed.add_argument("--json", action="store_true", help="print an object for programs")
    listed.set_defaults(call=_list)
    verify = actions.add_parser("verify", description="Look whether the persons are in no place.")
    verify.add_argument("id", nargs="?", metavar="ID", help="a request, such as transactions-1 (default: all)")
    verify.set_defaults(call=_verify)
    finish = actions.add_parser("finish", description="Do what requests still have to do, as the daily job does.")
    finish.add_argument("id", nargs="?", metavar="ID", help="a request (default: all with work to do)")
    finish.set_defaults(call=_finish)
    withdraw = actions.add_parser(
        "withdraw", description="Take back a request, for example because the value was mistyped. Removed rows stay so."
    )
    withdraw.add_argument("id", metavar="ID", help="the request")
    withdraw.set_defaults(call=_withdraw)


def _erase(given: argparse.Namespace) -> int:
    if given.field is None:
        message = "Name the PII field that identifies the person with --field, or give an action: `txn erase --help`."
        raise UserError(message)
    from txn_assets.commands.asking import opened  # noqa: PLC0415 - imports the clients

    with opened() as services:
        from txn_assets.erasure.requesting import check_field, request_erasure  # noqa: PLC0415 - imports the clients
        from txn_assets.feeds.configured import find_feed  # noqa: PLC0415 - as above

        own = services.of(find_feed(services.config, given.feed))
        # Before somebody types the value in vain.
        check_field(own.feed, given.field)
        request = request_erasure(own, given.field, read_value(given.field), by=given.by or getpass.getuser())
        sys.stdout.write(f"Erasure request {request} is written: loads leave out its rows from now on.\n")
        return _carry_out(own, request)


def _list(given: argparse.Namespace) -> int:
    from txn_assets.commands.asking import opened  # noqa: PLC0415 - imports the clients

    with opened() as services:
        requests = list(_requests(services))
    if given.json:
        sys.stdout.write(as_json({"requests": [_as_json(request) for _, request in requests]}))
        return 0
    if not requests:
        sys.stdout.write("There is no erasure request.\n")
    for _, request in requests:
        moment, state = _state(request)
        removed = sum(request.removed.values())
        sys.stdout.write(
            f"{request.id:<24}{state:<10}{moment:%Y-%m-%d %H:%M} UTC  {request.field}, requested "
            f"{request.requested_at:%Y-%m-%d %H:%M} UTC by {request.requested_by}, "
            f"keys {', '.join(sorted(request.digests))}, rows removed {removed:,}\n"
        )
    return 0


def _verify(given: argparse.Namespace) -> int:
    from txn_assets.commands.asking import opened  # noqa: PLC0415 - imports the clients

    with opened() as services:
        from txn_assets.erasure.carrying_out import count_left  # noqa: PLC0415 - imports the clients

        code = 0
        for own, request in _chosen(services, given.id):
            left = {label: count for label, count in count_left(own, request).items() if count}
            found = ", ".join(f"{label} {count:,}" for label, count in left.items())
            nowhere = "in no place that is erased" if _keeps_landed(own) else "in no place"
            sys.stdout.write(f"{request}  {f'rows left: {found}' if left else nowhere}\n")
            code = INCOMPLETE if left else code
        if _keeps_landed(services):
            sys.stdout.write(KEPT)
    return code


def _finish(given: argparse.Namespace) -> int:
    from txn_assets.commands.asking import opened  # noqa: PLC0415 - imports the clients

    with opened() as services:
        from txn_assets.erasure.carrying_out import due  # noqa: PLC0415 - imports the clients

        if given.id:
            work = list(_chosen(services, given.id))
        else:
            work = [(own, request) for own in _all(services) for request in due(own)]
        if not work:
            sys.stdout.write("Every erasure request is finished.\n")
        codes = []
        for own, request in work:
            sys.stdout.write(f"{request}\n")
            codes.append(_carry_out(own, request))
    return max(codes, default=0)


def _withdraw(given: argparse.Namespace) -> int:
    from txn_assets.commands.asking import opened  # noqa: PLC0415 - imports the clients

    with opened() as services:
        from txn_assets.erasure.carrying_out import withdraw  # noqa: PLC0415 - imports the clients

        for own, request in _chosen(services, given.id):
            withdraw(own, request)
            sys.stdout.write(
                f"{request} is withdrawn. What was removed comes back only when its files are loaded again: "
                "`txn replay NAME`.\n"
            )
    return 0


def _carry_out(services: "Services", request: "ErasureRequest") -> int:
    from txn_assets.erasure.carrying_out import carry_out  # noqa: PLC0415 - imports the clients

    done = carry_out(services, request, say=_say)
    if done.is_complete:
        sys.stdout.write(f"ERASED  {request}: no place has rows of the person.\n")
        if _keeps_landed(services):
            sys.stdout.write(KEPT)
        return 0
    left = ", ".join(f"{label} {count:,}" for label, count in done.left.items() if count)
    sys.stdout.write(f"OPEN  {request}: rows left: {left}. `txn erase finish {request}` goes on.\n")
    return INCOMPLETE


def _keeps_landed(services: "Services | AllServices") -> bool:
    return services.config.erasure.landing == "keep"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _requests(services: "AllServices") -> "Iterator[tuple[Services, ErasureRequest]]":
    for own in _all(services):
        yield from ((own, request) for request in own.erasures.read().requests)


def _all(services: "AllServices") -> "Iterator[Services]":
    from txn_assets.feeds.configured import feeds_of  # noqa: PLC0415 - imports the clients

    return map(services.of, feeds_of(services.config))


def _chosen(services: "AllServices", name: str | None) -> "Iterator[tuple[Services, ErasureRequest]]":
    """Yield the request with the id `name`, or all that have an effect if it is None.

    Raises:
        UserError: there is no such request.
    """
    found = [(own, one) for own, one in _requests(services) if one.id == name or (not name and not one.is_withdrawn)]
    if name and not found:
        message = f"There is no erasure request {name!r}. `txn erase list` lists them."
        raise UserError(message)
    yield from found


def _state(request: "ErasureRequest") -> tuple[dt.datetime, str]:
    if request.withdrawn_at:
        return request.withdrawn_at, "withdrawn"
    return (request.finished_at, "finished") if request.finished_at else (request.requested_at, "open")


def _as_json(request: "ErasureRequest") -> dict[str, object]:
    _, state = _state(request)
    moments = ("requested_at", "finished_at", "withdrawn_at")
    return {
        "id": request.id,
        "feed": request.feed,
        "field": request.field,
        "state": state,
        "keys": sorted(request.digests),
        "requested_by": request.requested_by,
        **{name: moment.isoformat() if (moment := getattr(request, name)) else None for name in moments},
        "removed": dict(request.removed),
    }
