"""Errors whose text is the platform's own, and what may be said of all others.

The text of an error that a library raises may quote a row, so only `described` goes into logs and events.
"""

import traceback
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).parent
_SHOWN_CALLS = 4
"""Number of calls of this package to name with an error."""


class ValueFreeError(Exception):
    """Raised with a text that quotes no value of a row, so that it may be logged and stored."""


class UserError(ValueFreeError):
    """Raised when a command cannot do what it was asked to; the message says what is wrong, where, and what to do."""


class RowModelError(UserError):
    """Raised when a validator of a row model fails, which is not how it refuses a value."""


def described(error: BaseException) -> str:
    """Return the type of `error`, what raised it and from where, without its text, which may quote a row."""
    frames = list(_frames(error))
    own = [_place(frame) for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    places = [_place(frame) for frame in frames[:1]]
    places += [place for place in own[:_SHOWN_CALLS] if place not in places]
    causes = [type(one).__name__ for one in _chain(error)]
    return f"{', caused by '.join(causes)} in {', called from '.join(places)}" if places else causes[0]


def traceback_of(error: BaseException, *, worded: tuple[type[BaseException], ...] = ()) -> str:
    """Return the traceback of `error` and of its causes, with the texts of only those that quote no row.

    `worded` are errors of other packages whose text is always the platform's own.
    """
    lines = []
    for one in _chain(error):
        text = f": {one}" if isinstance(one, (ValueFreeError, *worded)) else ""
        lines += [f"{type(one).__name__}{text}\n", *traceback.format_tb(one.__traceback__)]
    return "".join(lines).rstrip()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error`, then its cause, and so on."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the calls that led to the first cause of `error`, from the innermost one."""
    *_, first = _chain(error)
    found = traceback.extract_tb(first.__traceback__)[::-1]
    if first is not error:
        found += [frame for frame in traceback.extract_tb(error.__traceback__)[::-1] if frame not in found]
    return list(found)


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    shown = path.relative_to(_PACKAGE.parent) if path.is_relative_to(_PACKAGE) else Path(*path.parts[-2:])
    return f"{frame.name} ({shown}:{frame.lineno})"
