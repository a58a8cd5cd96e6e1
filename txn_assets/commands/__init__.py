"""The commands of `txn`, by what they are about. `cli.py` puts them together.

A module defines the options of its commands with `add`, and imports what a command works with only when it runs:
`txn --help` waits neither for Dagster nor for a client.
"""

import argparse
from typing import Any

type Commands = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - it has no public name
"""What `add_parser` of a command is called on."""
