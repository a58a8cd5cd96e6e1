"""`txn dev`, `txn upload` and `txn metrics`, which run until Ctrl-C, and `txn token` for callers of the service."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from txn_assets.commands import Commands
from txn_assets.commands.options import positive
from txn_assets.config import load_config
from txn_assets.environment import txn_home, txn_target
from txn_assets.errors import UserError
from txn_assets.local.endpoints import seed_from
from txn_assets.local.stack import ensure_up


def add(commands: Commands) -> None:
    """Add the commands."""
    dev = commands.add_parser("dev", description="Run the Dagster UI and daemon, with the local servers, until Ctrl-C.")
    dev.add_argument("port", nargs="?", default="3000", help="port of the UI on 127.0.0.1 (default: %(default)s)")
    dev.add_argument("--wait", action="store_true", help="if another one runs with this TXN_HOME, start after it")
    dev.set_defaults(call=_dev)

    upload = commands.add_parser("upload", description="Receive files over HTTP and land them, until Ctrl-C.")
    upload.add_argument("port", nargs="?", default="8000", help="port of the service (default: %(default)s)")
    upload.add_argument(
        "--listen", metavar="ADDRESS", default="127.0.0.1", help="the address to listen on (default: %(default)s)"
    )
    upload.set_defaults(call=_upload)

    metrics = commands.add_parser("metrics", description="Serve metrics for Prometheus at /metrics, until Ctrl-C.")
    metrics.add_argument("port", nargs="?", default="9464", help="port of the service (default: %(default)s)")
    metrics.add_argument(
        "--listen", metavar="ADDRESS", default="127.0.0.1", help="the address to listen on (default: %(default)s)"
    )
    metrics.set_defaults(call=_metrics)

    token = commands.add_parser(
        "token",
        description="Print a bearer token for the upload service of the local target; start the servers if needed.",
    )
    scope = "transactions:write sales:read"
    token.add_argument(
        "--scope", default=scope, help="what the token allows, separated by blanks (default: %(default)s)"
    )
    token.add_argument("--subject", default="local", help="whose token it is (default: %(default)s)")
    token.add_argument("--minutes", type=positive, default=60, help="how long it is valid (default: %(default)s)")
    token.set_defaults(call=_token)


def _dev(given: argparse.Namespace) -> int:
    from txn_assets.defs.dev import serve  # noqa: PLC0415 - Dagster takes a second to import

    return serve(given.port, wait=given.wait)


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

    return serve(load_config(), given.port, listen=given.listen)


def _metrics(given: argparse.Namespace) -> int:
    from txn_assets.watch.exporter import serve  # noqa: PLC0415 - imports the clients

    return serve(load_config(), given.port, listen=given.listen)


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
