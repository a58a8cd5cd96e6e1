"""What several commands need to read their options and write their output."""

import argparse
import getpass
import json
import sys
from collections.abc import Mapping

from txn_assets.errors import UserError


def positive(text: str) -> int:
    """Return the positive whole number that `text` is, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        message = f"{text!r} is not a positive whole number"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def as_json(content: Mapping[str, object]) -> str:
    """Return `content` as JSON for programs, indented so that people can read it too."""
    return json.dumps(content, indent=2) + "\n"


def read_value(field: str) -> str:
    """Return the value of a PII field from standard input, or ask for it on a terminal, which does not show it.

    Raises:
        UserError: it is not text; the message does not have it.
    """
    if sys.stdin.isatty():
        return getpass.getpass(f"{field} (not shown): ")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        # Without the error, which quotes the value.
        message = f"The value of {field} on standard input is not UTF-8 text."
        raise UserError(message) from None
