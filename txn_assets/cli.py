"""The `txn` command: parse the arguments, call the command, and report a user error in one sentence.

`run.py`, `defs/dev.py` and `local/` do the work. Where `txn` is not on the PATH, use `python -m txn_assets.run`,
`python -m txn_assets.local` and `python -m txn_assets.defs.dev` instead.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from txn_assets.config import load_config
from txn_assets.environment import config_path, dagster_url, project_root, servers_environment, txn_home, txn_target
from txn_assets.errors import UserError
from txn_assets.feeds.configured import find_feed
from txn_assets.feeds.feed import FIRST_FEED
from txn_assets.local import dagster_dev, exports
from txn_assets.local.endpoints import seed_from
from txn_assets.local.stack import down, ensure_up, listen_on, status

_USAGE = "txn COMMAND [OPTIONS]"
_DESCRIPTION = """\
Validate CSV files, hash their PII, and load them into GCS, BigQuery and PostgreSQL.

commands:
  run      load a file and show the result                 txn run orders.csv
  check    try a file: show what a load would find         txn check orders.csv
  contract print what a valid file of a feed is            txn contract --format markdown
  dev      run the Dagster UI and daemon until Ctrl-C      txn dev 3001
  upload   receive files over HTTP until Ctrl-C            txn upload 8000
  up       start the local servers and list them           txn up
  status   list the local servers; fail if one is down     txn status
  env      print variables for psql, bq, gcloud, clients   eval "$(txn env)"
  token    print a token for the local upload service      txn token --minutes 480
  down     stop the local servers and keep their data      txn down

Run `txn COMMAND --help` for the options of a command."""
_SETTINGS = """\
paths, and the environment variables that change them:
  TXN_CONFIG         configuration file
                     {config}
  TXN_HOME           folder for the data and logs of the local servers, and for scratch files
                     {home}
  TXN_SERVERS_VENV   virtual environment of the local servers
                     {servers}"""


class _Parser(argparse.ArgumentParser):
    """A parser that keeps line breaks in its help and reports an error in one line."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]  # passed through unchanged

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. Run `{self.prog} --help` for usage.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in `arguments` (default: sys.argv) and return its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return 0
    try:
        code: int = given.call(given)
        sys.stdout.flush()
    except UserError as error:
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130
    except BrokenPipeError:
        # The program that reads our output, such as `head`, has exited. Without this, Python reports it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    settings = _SETTINGS.format(config=config_path(), home=txn_home(), servers=servers_environment())
    parser = _Parser(prog="txn", usage=_USAGE, description=_DESCRIPTION, epilog=settings)
    # Hide argparse's own list, because the description lists the commands.
    commands = parser.add_subparsers(prog="txn", dest="command", metavar="COMMAND", help=argparse.SUPPRESS)

    run = commands.add_parser("run", description="Land a CSV file, load it into the three stores, and show the result.")
    sample = project_root() / "data" / "transactions.csv"
    run.add_argument("file", nargs="?", type=Path, default=sample, help="*.csv or *.csv.gz (default: %(default)s)")
    run.add_argument("--feed", help="the feed of the file (default: the first one, transactions)")
    run.add_argument("--name", help="land the file under this name instead of its own")
    run.add_argument("--replace", action="store_true", help="replace what was loaded under the same name")
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

    dev = commands.add_parser("dev", description="Run the Dagster UI and daemon, with the local servers, until Ctrl-C.")
    dev.add_argument("port", nargs="?", default="3000", help="port of the UI on 127.0.0.1 (default: %(default)s)")
    dev.set_defaults(call=_dev)

    upload = commands.add_parser("upload", description="Receive files over HTTP and land them, until Ctrl-C.")
    upload.add_argument("port", nargs="?", default="8000", help="port of the service (default: %(default)s)")
    upload.add_argument(
        "--listen", metavar="ADDRESS", default="127.0.0.1", help="the address to listen on (default: %(default)s)"
    )
    upload.set_defaults(call=_upload)

    up = commands.add_parser("up", description="Start the local servers if they are not running, and list them.")
    up.add_argument("--listen", metavar="ADDRESS", help="also listen on this address of the machine, until `txn down`")
    up.set_defaults(call=_up)

    token = commands.add_parser(
        "token",
        description="Print a bearer token for the upload service of the local target; start the servers if needed.",
    )
    scope = "transactions:write sales:read"
    token.add_argument(
        "--scope", default=scope, help="what the token allows, separated by blanks (default: %(default)s)"
    )
    token.add_argument("--subject", default="local", help="whose token it is (default: %(default)s)")
    token.add_argument("--minutes", type=_positive, default=60, help="how long it is valid (default: %(default)s)")
    token.set_defaults(call=_token)

    plain = {
        "status": (_status, "List the local servers; the exit code is 0 if all of them answer."),
        "env": (_env, "Print variables that point clients at the local servers; start the servers if needed."),
        "down": (_down, "Stop the local servers and keep their data in TXN_HOME."),
    }
    for name, (call, description) in plain.items():
        commands.add_parser(name, description=description).set_defaults(call=call)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        message = f"{text!r} is not a positive whole number"
        raise argparse.ArgumentTypeError(message)
    return int(text)


# Dagster takes a second to import, and only these two commands need it.
def _run(given: argparse.Namespace) -> int:
    from txn_assets.run import run  # noqa: PLC0415 - see above

    return run(given.file, load_config(), sys.stdout, feed=given.feed, name=given.name, replace=given.replace)


def _check(given: argparse.Namespace) -> int:
    from txn_assets.senders.check import UNREADABLE, check, refusal  # noqa: PLC0415 - imports Arrow
    from txn_assets.senders.explain import explain  # noqa: PLC0415 - as above

    try:
        feed = find_feed(load_config(), given.feed)
        outcome = check(given.file, feed) if given.explain is None else explain(given.file, feed, given.explain)
    except UserError as error:
        if given.json:
            sys.stdout.write(_as_json(refusal(given.file, given.feed, error)))
        else:
            sys.stderr.write(f"{error}\n")
        return UNREADABLE
    sys.stdout.write(_as_json(outcome.as_json()) if given.json else outcome.text())
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


def _as_json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _dev(given: argparse.Namespace) -> int:
    from txn_assets.defs.dev import serve  # noqa: PLC0415 - see above

    return serve(given.port)


@contextmanager
def _upload_packages() -> Iterator[None]:
    """Raise a UserError if a package of the upload service is missing: an installed wheel may lack them."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"The package {error.name} is not installed. Run `pip install 'txn-assets[upload]'`."
        raise UserError(message) from error


def _upload(given: argparse.Namespace) -> int:
    with _upload_packages():
        from txn_assets.upload.server import serve  # noqa: PLC0415 - imports the server and the clients

    with ExitStack() as running:
        if txn_target() == "local" and dagster_url() is None:
            log = running.enter_context(dagster_dev.running(txn_home()))
            sys.stderr.write(f"Dagster starts beside the service to load the files; its log is {log}.\n")
        return serve(load_config(), given.port, listen=given.listen)


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


def _token(given: argparse.Namespace) -> int:
    with _upload_packages():
        from txn_assets.local.tokens import make_token  # noqa: PLC0415 - only this command needs PyJWT

    config = load_config()
    oauth2 = config.security.oauth2
    if txn_target() != "local" or oauth2.issuer:
        issuer = oauth2.issuer or "the issuer in security.oauth2.issuer"
        message = f"`txn token` makes tokens of the local issuer only. Get one from {issuer} instead."
        raise UserError(message)
    endpoints = ensure_up(txn_home(), seed_from(config))
    claims = {"iss": endpoints.issuer_url, "aud": oauth2.audience, "sub": given.subject, "scope": given.scope}
    sys.stdout.write(f"{make_token(txn_home(), claims, minutes=given.minutes)}\n")
    return 0


def _down(_: argparse.Namespace) -> int:
    stopped = down(txn_home())
    sys.stdout.write("The local servers are stopped.\n" if stopped else "The local servers were not running.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
