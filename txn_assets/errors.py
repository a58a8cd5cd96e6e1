"""The base class of errors that a command reports in one sentence instead of a traceback."""


class UserError(Exception):
    """What was asked for cannot be done; the message says what is wrong, where, and what to do."""
