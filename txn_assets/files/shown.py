"""Show what a sender named or sent so that it looks like what it is, in a log, a message and a terminal.

Control characters may move the cursor, and characters that set the direction of text reorder what is around them
(https://www.unicode.org/reports/tr36/). Letters of another alphabet may look like those of a name that somebody knows.
"""

import functools
import json
import re
import unicodedata
from collections.abc import Sequence

MAX_NAME = 100
"""Maximum length of a name in a message."""

_MAX_LISTED = 20

_JOINERS = "\u200c\u200d"
"""Persian, Indic scripts and emoji need them, and they reorder nothing."""

_UNSHOWABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of control and format characters, surrogates, and line and paragraph separators."""

_WORD = re.compile(r"[^\W\d_]+")
_LOOKALIKE = ("GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")
"""Alphabets with letters that look like Latin ones."""


def printable(text: str) -> str:
    """Return `text` with everything that does not show as itself escaped as in JSON."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def shown_name(name: str) -> str:
    """Return `name` for a message: printable, not too long, and with letters that only look like others escaped."""
    name = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"
    mixed = {at for word in _WORD.finditer(name) if _is_mixed(word[0]) for at in range(*word.span())}
    return "".join(
        _escaped(one) if not one.isprintable() or _is_variant(one) or (at in mixed and not one.isascii()) else one
        for at, one in enumerate(name)
    )


def disguised(name: str) -> bool:
    """Return whether letters of `name` only look like others."""
    return any(map(_is_variant, name)) or any(_is_mixed(word) for word in _WORD.findall(name))


def unshowable(name: str) -> str:
    """Return the first character of `name` that is invisible or reorders text, escaped; '' if there is none."""
    hidden = (one for one in name if unicodedata.category(one) in _UNSHOWABLE and one not in _JOINERS)
    return next(map(_escaped, hidden), "")


def listed(names: Sequence[str]) -> str:
    """Return the first of `names`, and how many more there are."""
    more = len(names) - _MAX_LISTED
    return f"{', '.join(names[:_MAX_LISTED])}{f' and {more:,} more' if more > 0 else ''}"


def _escaped(character: str) -> str:
    # JSON leaves DEL as it is.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


@functools.lru_cache(maxsize=1024)
def _is_variant(character: str) -> bool:
    """Return whether the character is a full-width or mathematical form of another one."""
    return unicodedata.decomposition(character).startswith(("<wide>", "<font>"))


def _is_mixed(word: str) -> bool:
    """Return whether the word has Latin letters and letters that may look like them."""
    if word.isascii():
        return False
    alphabets = {unicodedata.name(letter, "").partition(" ")[0] for letter in word}
    return "LATIN" in alphabets and not alphabets.isdisjoint(_LOOKALIKE)
