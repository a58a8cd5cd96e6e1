"""What is said of an error whose text may quote a row: its type and where it was raised."""

import logging
from collections.abc import Callable

import dagster as dg
import pyarrow as pa
import pytest
from google.api_core.exceptions import NotFound

from txn_assets.defs.failures import without_values
from txn_assets.defs.json_lines import as_json
from txn_assets.errors import UserError, described, traceback_of
from txn_assets.stores.explained import explained
from txn_assets.upload.server import _JsonLines, _Lines

CLEAR = "T00SECRET"


def fail() -> None:
    """Raise an error of Arrow that quotes a value, caused by another that does."""
    empty: dict[str, str] = {}
    try:
        empty.pop(CLEAR)
    except KeyError:
        pa.array([CLEAR], pa.int64())


def caught(function: Callable[[], object]) -> Exception:
    """Return what `function` raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any error
        function()
    return raised.value


def test_described() -> None:
    """The types of an error and of its causes are named, and the call that raised the first of them."""
    said = described(caught(fail))
    assert said.startswith("ArrowInvalid, caused by KeyError in fail (unit/test_errors.py:")
    assert CLEAR not in said


def test_traceback() -> None:
    """A traceback has the calls, and the texts of those errors alone that quote no row."""

    def report() -> None:
        try:
            fail()
        except pa.ArrowInvalid as error:
            message = "a.csv cannot be used"
            raise UserError(message) from error

    said = traceback_of(caught(report))
    assert "UserError: a.csv cannot be used" in said
    assert "in report" in said
    assert CLEAR not in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("a.csv cannot be used"), "a.csv cannot be used"),
        (ValueError(CLEAR), "ValueError: its text is left out, because it may quote a row"),
        (FileNotFoundError(2, "No such file or directory", "/scratch"), "No such file or directory (/scratch)"),
        (NotFound("no bucket b"), "no bucket b"),  # type: ignore[no-untyped-call]  # untyped there
    ],
)
def test_explained(error: Exception, said: str) -> None:
    """The texts of the platform, of the operating system and of Google's services are told."""
    assert explained(error).endswith(said)


@pytest.mark.parametrize("error", [dg.Failure("a sentence"), UserError("a sentence"), dg.DagsterError("a sentence")])
def test_guarded_function_keeps_worded_errors(error: Exception) -> None:
    """An error with a text of the platform or of Dagster is raised as it is, without its cause and its frames."""

    @without_values
    def step() -> None:
        row = CLEAR
        raise error from KeyError(row)

    raised = caught(step)
    assert raised is error
    assert raised.__cause__ is None
    assert raised.__context__ is None
    frame = raised.__traceback__
    while frame:
        assert CLEAR not in map(str, frame.tb_frame.f_locals.values())
        frame = frame.tb_next


def test_guarded_function_replaces_other_errors() -> None:
    """Any other error becomes a failure that says its type and place, with no error or local variable behind it."""
    raised = caught(without_values(fail))
    assert isinstance(raised, dg.Failure)
    assert str(raised.description).startswith("ArrowInvalid, caused by KeyError in fail (unit/test_errors.py:")
    assert (raised.__cause__, raised.__context__) == (None, None)


@pytest.mark.parametrize(
    "write", [_Lines().format, _JsonLines().format, lambda record: str(as_json(record))], ids=["upload", "json", "run"]
)
def test_logs(write: Callable[[logging.LogRecord], str]) -> None:
    """The logs of the upload service and of runs say where an error was raised, without its text."""
    error = caught(fail)
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "failed", (), (type(error), error, None))
    written = write(record)
    assert "ArrowInvalid" in written
    assert "test_errors.py" in written
    assert CLEAR not in written
