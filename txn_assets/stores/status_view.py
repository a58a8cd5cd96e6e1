"""The view `file_status`: for each file of every feed, the newest row of its ledger.

`postgres/view.py` and `bigquery/view.py` create it beside the ledgers. A view that somebody else made is left alone.

The description of ours has a mark for each SELECT that it is made of, because PostgreSQL does not keep the text of a
view. A load only asks whether the mark of its own feed is there.
"""

import hashlib
from collections.abc import Iterable, Mapping

from txn_assets.feeds.feed import Feed

VIEW = "file_status"

STAGES = ("validate", "hash", "load")
"""The stages whose seconds the column `seconds` adds up."""

COLUMNS = {
    "feed": "'{feed}'",
    "source_file": "source_file",
    "generation": "generation",
    "size": "size",
    "landed_at": "landed_at",
    "started_at": "started_at",
    "loaded_at": "loaded_at",
    "seconds": "{seconds}",
    "records": "records",
    "valid": "row_count",
    "rejected": "rejected",
    "reasons": "reasons",
    "table_name": "'{table}'",
    "run_id": "run_id",
    "rules_id": "rules_id",
    "key_id": "key_id",
    # Not from the column: the ledger of a feed that this release has not loaded yet lacks it.
    "erased": "records - row_count - rejected",
}
"""The columns of the view, with the expression of each over a ledger."""

_OURS = "Kept by txn_assets"


def select_list(feed: Feed, *, table: str, second_of: str) -> str:
    """Return the columns of the view for `feed`; `second_of` is the SQL for the seconds of the stage `{stage}`."""
    seconds = " + ".join(second_of.format(stage=stage) for stage in STAGES)
    return ", ".join(
        f"{expression.format(feed=feed.name, table=table, seconds=seconds)} AS {name}"
        for name, expression in COLUMNS.items()
    )


def describe(feeds: Iterable[Feed], selects: Iterable[str]) -> str:
    """Return the description of a view of `selects` in a configuration with `feeds`."""
    marks = [_mark(_names(feeds)), *map(_mark, selects)]
    return f"One row per file: the newest version in the ledger of its feed. {_OURS}: {' '.join(marks)}"


def is_current(description: str, feeds: Iterable[Feed], select: str) -> bool:
    """Return whether the view with `description` has `select`, and was made for a configuration with `feeds`."""
    return set(make_marks(feeds, select).split()) <= set(description.split())


def make_marks(feeds: Iterable[Feed], select: str) -> str:
    """Return the words by which a view says that it has `select`, and was made for a configuration with `feeds`."""
    return f"{_mark(_names(feeds))} {_mark(select)}"


def is_ours(description: str | None) -> bool:
    """Return whether we made the view with `description`."""
    return _OURS in (description or "")


def not_kept(place: str, problem: str, remedy: str) -> str:
    """Return the message for a view at `place` that a load could not create or update."""
    return f"The view {place} does not show the files of this feed as it should: {problem}. Loads go on. {remedy}"


def _names(feeds: Iterable[Feed]) -> str:
    tables: Mapping[str, tuple[str, str]] = {feed.name: (feed.bigquery_table, feed.postgres_table) for feed in feeds}
    return repr(sorted(tables.items()))


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
