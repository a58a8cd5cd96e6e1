"""The `txn` command: parse the arguments, call the command, and report a user error in one sentence.

The modules in `commands/` define the commands; `run.py`, `runs/`, `defs/dev.py` and `local/` do the work. Where `txn`
is not on the PATH, use `python -m txn_assets.run`, `python -m txn_assets.local` and `python -m txn_assets.defs.dev`
instead.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from txn_assets.commands import erase, files, replay, restore, rotate, servers, services, status
from txn_assets.environment import config_path, servers_environment, txn_home
from txn_assets.errors import UserError, traceback_of
from txn_assets.files.core_dumps import forbid_core_dumps

_DEFECT = 70
"""Exit code of a command that failed for a reason that it does not expect: EX_SOFTWARE of sysexits.h."""

_USAGE = "txn COMMAND [OPTIONS]"
_DESCRIPTION = """\
Validate CSV files, hash their PII, and load them into GCS, BigQuery and PostgreSQL.

commands:
  run      load a file and show the result                 txn run orders.csv
  status   say what became of a file, or of the last ones  txn status orders.csv
  replay   have Dagster load files again                   txn replay --failed
  rotate   replace the hash key, and see how far that is    txn rotate status
  restore  land an archived file again                     txn restore orders.csv
  erase    erase a person's rows, for good                  txn erase list
  check    try a file: show what a load would find         txn check orders.csv
  contract print what a valid file of a feed is            txn contract --format markdown
  dev      run the Dagster UI and daemon until Ctrl-C      txn dev 3001
  upload   receive files over HTTP until Ctrl-C            txn upload 8000
  metrics  serve metrics for Prometheus until Ctrl-C       txn metrics 9464
  up       start the local servers and list them           txn up
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
    return _call(_parser(), arguments)


def local_main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of `python -m txn_assets.local`, which is about the local servers alone."""
    parser = _Parser(prog="python -m txn_assets.local", description="Start, list and stop the local servers.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help="up, status, env or down")
    servers.add(commands)
    servers.add_status(commands)
    return _call(parser, arguments)


def _call(parser: _Parser, arguments: Sequence[str] | None) -> int:
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return 0
    forbid_core_dumps()
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
    except Exception as error:  # noqa: BLE001 - Python would print its text, which may quote a row
        from txn_assets.stores.explained import explained  # noqa: PLC0415 - imports the clients

        sys.stdout.flush()
        sys.stderr.write(f"{traceback_of(error)}\n`txn {given.command}` failed with {explained(error)}.\n")
        return _DEFECT
    return code


def _parser() -> _Parser:
    settings = _SETTINGS.format(config=config_path(), home=txn_home(), servers=servers_environment())
    parser = _Parser(prog="txn", usage=_USAGE, description=_DESCRIPTION, epilog=settings)
    # Hide argparse's own list, because the description lists the commands.
    commands = parser.add_subparsers(prog="txn", dest="command", metavar="COMMAND", help=argparse.SUPPRESS)
    for module in (files, status, replay, restore, rotate, erase, services, servers):
        module.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
