"""`txn status`: what became of a file, or of the last files. `runs/files.py` finds it out."""

import argparse
import datetime as dt
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from txn_assets.commands import Commands
from txn_assets.commands.options import as_json

if TYPE_CHECKING:
    from txn_assets.commands.asking import Asked
    from txn_assets.files.file_status import FileStatus
    from txn_assets.runs.files import FileHistory, Overview

WATCH_SECONDS = 5.0
"""Seconds between two looks of `txn status --watch`."""

NOT_YET = 3
"""Exit code for a file that is still to be loaded."""

STYLES = {
    "loaded": "green",
    "partly": "yellow",
    "rejected": "bold red",
    "failed": "bold red",
    "queued": "cyan",
    "running": "cyan",
}


def add(commands: Commands) -> None:
    """Add the command."""
    status = commands.add_parser(
        "status",
        description="Say what became of a file: its versions, rows, rejected rows by reason, and what each store has. "
        "Without a name: the last 20 files, and how many wait, run, failed or are stuck.",
        epilog="exit code: 0 if the file is in every store, 1 if it was rejected or failed, or the command failed, "
        "3 if it is still to be loaded. Without a name: 1 if a file failed, was rejected or is stuck, else 0",
    )
    status.add_argument("name", nargs="?", help="name of the file in the landing zone")
    status.add_argument("--feed", help="only files of this feed (default: all feeds)")
    status.add_argument("--json", action="store_true", help="print an object for programs")
    status.add_argument(
        "--watch",
        action="store_true",
        help=f"look again every {WATCH_SECONDS:.0f} seconds: until the file is loaded or fails, or until Ctrl-C",
    )
    status.set_defaults(call=_status)


def _status(given: argparse.Namespace) -> int:
    from txn_assets.commands.asking import asking  # noqa: PLC0415 - imports the clients

    look = _look_at_all if given.name is None else _look_at_file
    shown = ""
    with asking(given) as asked:
        while True:
            code, content, text = look(asked, given)
            if (new := as_json(content) if given.json else text) != shown:
                _write(new)
            shown = new
            if not given.watch or (given.name is not None and code != NOT_YET):
                return code
            time.sleep(WATCH_SECONDS)


type _Look = tuple[int, Mapping[str, object], str]
"""The exit code, the object for programs, and the text for people."""


def _look_at_file(asked: "Asked", given: argparse.Namespace) -> _Look:
    from txn_assets.runs.files import find_history, unknown_file  # noqa: PLC0415 - imports the clients

    found = [find_history(asked.services.of(feed), given.name, asked.dagster) for feed in asked.feeds]
    histories = [history for history in found if history]
    if not histories:
        raise unknown_file(asked.services, asked.feeds, given.name)
    states = {history.status.state for history in histories}
    code = NOT_YET if any(state.is_moving for state in states) else int(bool(states & {"rejected", "failed"}))
    content = {"dagster": _dagster_of(asked), "files": [history_as_json(history) for history in histories]}
    text = "\n".join(_history_text(history) for history in histories)
    return code, content, text + _without_dagster(asked)


def _look_at_all(asked: "Asked", _: argparse.Namespace) -> _Look:
    from txn_assets.runs.files import find_overview  # noqa: PLC0415 - imports the clients

    overview = find_overview(asked.services, asked.feeds, asked.dagster)
    content = {
        "dagster": _dagster_of(asked),
        "states": dict(overview.states),
        "stuck": overview.stuck,
        "unexamined": overview.unexamined,
        "files": [_as_json(status) for status in overview.files],
    }
    return int(overview.needs_attention), content, _overview_text(overview) + _without_dagster(asked)


def _dagster_of(asked: "Asked") -> str | None:
    return asked.dagster.url if asked.dagster else None


def _without_dagster(asked: "Asked") -> str:
    from txn_assets.commands.asking import NO_DAGSTER  # noqa: PLC0415 - imports the clients

    return "" if asked.dagster else f"\n{NO_DAGSTER}, to see which runs are queued, running or failed.\n"


def history_as_json(history: "FileHistory") -> dict[str, Any]:
    """Return a file and its versions for programs."""
    versions = [
        {
            "generation": str(one.load.file.generation),
            "rows": one.load.details.records if one.load.details else None,
            "valid": one.load.totals.rows,
            "rejected": dict(one.load.details.reasons) if one.load.details else {},
            "erased": one.load.details.erased if one.load.details else 0,
            "landed_at": _moment(one.load.details.landed_at if one.load.details else None),
            "loaded_at": _moment(one.load.loaded_at),
            "run_id": one.load.run_id,
            "stores": list(one.stores),
        }
        for one in history.versions
    ]
    return {
        **_as_json(history.status),
        "is_landed": history.is_landed,
        "archive": history.archive or None,
        "versions": versions,
    }


def _as_json(status: "FileStatus") -> dict[str, Any]:
    stores = {
        label: {"rows": one.rows, "loaded_at": _moment(one.loaded_at), "seconds": one.seconds, "address": one.address}
        for label, one in status.stores.items()
    }
    return {
        "name": status.version.name,
        "generation": str(status.version.generation),
        "feed": status.feed,
        "state": str(status.state),
        "size": status.size,
        "landed_at": _moment(status.landed_at),
        "started_at": _moment(status.started_at),
        "loaded_at": _moment(status.loaded_at),
        "seconds": dict(status.seconds),
        "rows": status.rows,
        "valid": status.valid,
        "rejected": dict(status.rejected),
        "erased": status.erased,
        "quarantine": status.quarantine or None,
        "stores": stores,
        "run": {"id": status.run_id, "url": status.url or None} if status.run_id else None,
        "message": status.message or None,
    }


def _moment(moment: dt.datetime | None) -> str | None:
    return moment.astimezone(dt.UTC).isoformat() if moment else None


def _shown(moment: dt.datetime | None) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}" if moment else "-"


def _history_text(history: "FileHistory") -> str:
    status = history.status
    where = "in the landing zone" if history.is_landed else "no longer in the landing zone"
    where = f"archived as {history.archive}" if history.archive else where
    size = "" if status.size is None else f", {status.size:,} bytes"
    lines = [f"{status.state.upper()}  {status.version.name}"]
    lines += [f"  {status.message}"] if status.message else []
    lines += [f"  feed        {status.feed}", f"  version     {status.version.generation}{size}, {where}"]
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in status.seconds.items())
    times = {"landed": status.landed_at, "started": status.started_at, "finished": status.loaded_at}
    lines += [f"  {name:<12}{_shown(moment)} UTC" for name, moment in times.items() if moment]
    lines += [f"  took        {stages}"] if stages else []
    if status.valid is not None:
        rows = f"{status.rows:,} in the file, " if status.rows is not None else ""
        lines.append(f"  rows        {rows}{status.valid:,} valid")
    lines += [f"  rejected    {count:>8,}  {reason}" for reason, count in status.rejected.items()]
    lines += [f"  erased      {status.erased:>8,}"] if status.erased else []
    lines += [f"  quarantine  {status.quarantine}"] if status.quarantine else []
    for label, one in status.stores.items():
        if one.rows is None:
            lines.append(f"  {label:<12}not loaded")
            continue
        seconds = "" if one.seconds is None else f", loaded in {one.seconds:.1f} s"
        lines.append(f"  {label:<12}{_rows(one.rows)} since {_shown(one.loaded_at)} UTC{seconds}  {one.address}")
    lines += [f"  run         {status.url or status.run_id}"] if status.run_id else []
    if history.versions:
        lines += ["", "  versions in PostgreSQL's ledger"]
    for version in history.versions:
        load = version.load
        rejected = f", {load.details.rejected:,} rejected" if load.details and load.details.rejected else ""
        erased = f", {load.details.erased:,} erased" if load.details and load.details.erased else ""
        held = f"  in {', '.join(version.stores)}" if version.stores else "  replaced"
        loaded = f"loaded {_shown(load.loaded_at)} UTC{held}"
        lines.append(f"    {load.file.generation}  {_rows(load.totals.rows)}{rejected}{erased}, {loaded}")
    return "\n".join(lines) + "\n"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _overview_text(overview: "Overview") -> str:
    counts = [f"{count:,} {state}" for state, count in sorted(overview.states.items())]
    counts += [f"{overview.stuck:,} stuck"] if overview.stuck else []
    counts += [f"{overview.unexamined:,} older ones not looked up"] if overview.unexamined else []
    lines = [f"Not in every store: {', '.join(counts)}." if counts else "Every landed file is in every store."]
    if overview.files:
        heading = ("state", "rows", "rejected", "landed (UTC)", "loaded (UTC)", "file")
        rows = [heading, *map(_row, overview.files)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(heading) - 1)]
        lines += ["", *("  ".join([*map(_padded, row[:-1], widths), row[-1]]) for row in rows)]
    return "\n".join(lines) + "\n"


def _padded(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() and ":" not in cell else cell.ljust(width)


def _row(status: "FileStatus") -> tuple[str, ...]:
    valid = "-" if status.valid is None else f"{status.valid:,}"
    known = status.rows is not None and status.valid is not None
    rejected = f"{(status.rows or 0) - (status.valid or 0) - status.erased:,}" if known else "-"
    feed = "" if status.feed == "transactions" else f" ({status.feed})"
    moments = _shown(status.landed_at), _shown(status.loaded_at)
    return str(status.state), valid, rejected, *moments, f"{status.version.name}{feed}"


def _write(text: str) -> None:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.text import Text  # noqa: PLC0415 - as above

    if not sys.stdout.isatty():
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    console = Console()
    for line in text.splitlines():
        first, *_ = line.split(maxsplit=1) or [""]
        console.print(Text(line, style=STYLES.get(first.lower(), "")), soft_wrap=True)
