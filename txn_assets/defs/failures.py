"""Failures of a step that quote no row, whatever raised them: Dagster stores the text of an error and of its causes."""

import functools
from collections.abc import Callable

import dagster as dg

from txn_assets.errors import ValueFreeError


def without_values[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    """Return `function` with errors that carry no value of a row: no text of a library, no cause and no local variable.

    Whatever Dagster calls that reads rows needs this.
    """

    @functools.wraps(function)
    def wrapped(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except (dg.Failure, dg.RetryRequested, dg.DagsterError, ValueFreeError) as error:
            raised: Exception = error  # Dagster's own errors are about partitions and definitions.
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote a row
            raised = dg.Failure(f"{explained(error)}.")
        # Outside the handler, so that Python does not add the error that was handled.
        raised.__cause__ = raised.__context__ = None
        raise raised.with_traceback(None)

    return wrapped


def explained(error: Exception) -> str:
    """Return what may be said of `error`; see `stores.explained`."""
    from txn_assets.stores import explained as of_stores  # noqa: PLC0415 - imports the clients, see `services.py`

    return of_stores.explained(error)


def is_failed_check(failure: dg.DagsterEvent) -> bool:
    """Return whether a step failed because of a blocking check, whose result says why."""
    error = failure.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"
