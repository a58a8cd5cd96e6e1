"""What several commands need to read their options and write their output."""

import argparse
import json
from collections.abc import Mapping


def positive(text: str) -> int:
    """Return the positive whole number that `text` is, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        message = f"{text!r} is not a positive whole number"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def as_json(content: Mapping[str, object]) -> str:
    """Return `content` as JSON for programs, indented so that people can read it too."""
    return json.dumps(content, indent=2) + "\n"
