"""Errors that a command reports as one sentence instead of a traceback."""


class UserError(Exception):
    """Raised when a command cannot do what it was asked to; the message says what is wrong, where, and what to do."""


class RowModelError(UserError):
    """Raised when a validator of a row model fails, which is not how it refuses a value."""
