"""Manage the local stack by hand: `python -m txn_assets.local up [--listen ADDRESS]|down|status|env`.

Arguments, output and exit codes only; the work is in `stack.py`. See txn_assets/local/README.md.
"""

import functools
import shlex
import sys
from collections.abc import Sequence

from txn_assets.config import load_config
from txn_assets.environment import ConfigError, txn_home
from txn_assets.local import exports
from txn_assets.local.endpoints import seed_from
from txn_assets.local.stack import LocalStackError, down, ensure_up, listen_on, status


def main(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code: 0, or 1 after printing the reason."""
    commands = {"up": _up, "down": _down, "status": _status, "env": _env}
    try:
        name, *rest = arguments
        command = commands[name]
        if rest:
            option, address = rest
            command = {("up", "--listen"): functools.partial(_up_on, address)}[name, option]
    except (ValueError, KeyError):
        known = f"{', '.join(commands)}, or up --listen ADDRESS"
        return _fail(f"python -m txn_assets.local takes one of {known}; not: {shlex.join(arguments)!r}.")
    try:
        return command()
    except (ConfigError, LocalStackError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("Interrupted. The next command that needs the stack starts it anew.")


def _up() -> int:
    ensure_up(txn_home(), seed_from(load_config()))
    return _status()


def _up_on(address: str) -> int:
    listen_on(txn_home(), address)
    code = _up()
    sys.stderr.write(
        f"Whoever reaches {address} can read and write the bucket and the dataset without a password, and PostgreSQL "
        f"with its password: use an address that only your own machine or cluster reaches. `down` ends it.\n"
    )
    return code


def _down() -> int:
    sys.stdout.write("The local stack is stopped.\n" if down(txn_home()) else "The local stack was not running.\n")
    return 0


def _status() -> int:
    servers = status(txn_home())
    if not servers:
        return _fail(f"No local stack runs in {txn_home()}: `python -m txn_assets.local up` starts it.")
    for server in servers:
        up = "up" if server.up else "down"
        sys.stdout.write(f"{server.name:<16} {up:<5} {server.url:<31} pid {server.pid:<8} log {server.log}\n")
    return 0 if all(server.up for server in servers) else 1


def _env() -> int:
    config = load_config()
    endpoints = ensure_up(txn_home(), seed_from(config))
    project_id = config.data_warehouse.project_id
    for name, value in exports.variables(endpoints, project_id=project_id, home=txn_home()).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
