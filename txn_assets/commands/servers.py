"""`txn up`, `txn env` and `txn down`: the local servers. `python -m txn_assets.local status` lists them too."""

import argparse
import shlex
import sys

from txn_assets.commands import Commands
from txn_assets.config import load_config
from txn_assets.environment import txn_home
from txn_assets.errors import UserError
from txn_assets.local import exports
from txn_assets.local.endpoints import seed_from
from txn_assets.local.stack import down, ensure_up, listen_on, status


def add(commands: Commands) -> None:
    """Add the commands."""
    up = commands.add_parser("up", description="Start the local servers if they are not running, and list them.")
    up.add_argument("--listen", metavar="ADDRESS", help="also listen on this address of the machine, until `txn down`")
    up.set_defaults(call=_up)
    plain = {
        "env": (_env, "Print variables that point clients at the local servers; start the servers if needed."),
        "down": (_down, "Stop the local servers and keep their data in TXN_HOME."),
    }
    for name, (call, description) in plain.items():
        commands.add_parser(name, description=description).set_defaults(call=call)


def add_status(commands: Commands) -> None:
    """Add the command that lists the servers. `txn status` is about files."""
    status = commands.add_parser(
        "status", description="List the local servers; the exit code is 0 if all of them answer."
    )
    status.set_defaults(call=_status)


def _up(given: argparse.Namespace) -> int:
    if given.listen:
        listen_on(txn_home(), given.listen)
    ensure_up(txn_home(), seed_from(load_config()))
    code = _status(given)
    if given.listen:
        sys.stderr.write(
            f"Anyone who can reach {given.listen} can read and write the bucket and the dataset without a password, "
            "and PostgreSQL with its password. Use an address that only your own machine or cluster can reach. "
            "`txn down` stops listening on it.\n"
        )
    return code


def _status(_: argparse.Namespace) -> int:
    servers = status(txn_home())
    if not servers:
        message = f"The local servers of {txn_home()} are not running. Start them with `txn up`."
        raise UserError(message)
    for server in servers:
        up = "up" if server.up else "down"
        sys.stdout.write(f"{server.name:<16} {up:<5} {server.url:<31} pid {server.pid:<8} log {server.log}\n")
    return 0 if all(server.up for server in servers) else 1


def _env(_: argparse.Namespace) -> int:
    config = load_config()
    endpoints = ensure_up(txn_home(), seed_from(config))
    project_id = config.data_warehouse.project_id
    for name, value in exports.variables(endpoints, project_id=project_id, home=txn_home()).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0


def _down(_: argparse.Namespace) -> int:
    stopped = down(txn_home())
    sys.stdout.write("The local servers are stopped.\n" if stopped else "The local servers were not running.\n")
    return 0
