"""Do the work of an asset on each file of a run, and turn what goes wrong with one into a failure of that file.

`assets.py` has the work. The text of an unexpected error may quote a row, so it is left out.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from txn_assets.defs.events import StageLog
from txn_assets.defs.failures import explained
from txn_assets.environment import ConfigError
from txn_assets.errors import RowModelError
from txn_assets.files.ledger import FileVersion
from txn_assets.files.values import FailedFile, list_failures
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets.stores.errors import LandedFileError, UnusableFileError
from txn_assets.stores.services import Services


def each_file[ItemT, FileT](
    context: dg.AssetExecutionContext,
    services: Services,
    items: Mapping[str, ItemT],
    work: Callable[[ItemT, StageLog], FileT],
    failed: tuple[FailedFile, ...] = (),
) -> tuple[tuple[FileT, ...], tuple[FailedFile, ...]]:
    """Apply `work` to each of `items`, keyed by file name; return the results and all failed files of the batch.

    Raises:
        Failure: no file is left.
        ConfigError: the configuration is wrong, so every file would fail.
    """
    started = time.monotonic()
    log = StageLog(context.log, context.run.run_id, files=len(items) + len(failed))
    done = []
    names = list(items)
    for place, name in enumerate(names):
        try:
            done.append(work(items[name], log))
        except ConfigError:
            raise
        except Exception as error:
            # Any other error concerns one file. Raising it would keep the rest of the batch from loading, now and in
            # the next nightly run, which has the same batch.
            if isinstance(error, dg.Failure) and len(items) == 1 and not failed:
                raise
            of_storage = services.landing.is_out_of_reach(error)
            why = _why(context, error, of_storage=of_storage)
            # The client has already waited for the storage, and each remaining file would wait just as long.
            for one in (FailedFile(each, why) for each in (names[place:] if of_storage else [name])):
                context.log.error(str(one))  # noqa: TRY400 - a traceback would quote the error, see _why
                failed += (one,)
            if of_storage:
                break
    if not done:
        raise dg.Failure(list_failures(failed), allow_retries=False)
    log.done(len(done), time.monotonic() - started)
    return tuple(done), failed


def _why(context: dg.AssetExecutionContext, error: Exception, *, of_storage: bool) -> str:
    """Return the message for `error`; leave out the text of unexpected errors, because it may quote row values."""
    if isinstance(error, dg.Failure):
        return error.description or ""
    remedy = " Load it again when the storage answers." if of_storage else ""
    return f"{stage_of(context)} failed with {explained(error)}.{remedy}"


@contextmanager
def failures_of(version: FileVersion, services: Services) -> Iterator[None]:
    """Turn the errors of a file into a step failure. Allow retries only if the file could not be read."""
    try:
        yield
    except UnreadableFileError as error:
        raise file_refusal(services, version, f"{version.name} is not {services.feed.file}: {error}.") from error
    except UnusableFileError as error:
        raise file_refusal(services, version, str(error)) from error
    except RowModelError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except LandedFileError as error:
        raise dg.Failure(str(error)) from error


def file_refusal(
    services: Services, version: FileVersion, message: str, metadata: Mapping[str, Any] | None = None
) -> dg.Failure:
    """Return the step failure for a file that cannot be loaded as it is, after noting the reason in the quarantine.

    The status of a file shows the note; see docs/upload.md.
    """
    if problem := services.quarantine.refuse(version, message):
        dg.get_dagster_logger().warning(f"The status of {version} does not say why it was refused: {problem}")
    return dg.Failure(message, metadata=metadata, allow_retries=False)


def stage_of(context: dg.AssetExecutionContext) -> str:
    """Return the name of the asset in events and messages."""
    return str(context.asset_key.to_python_identifier())
