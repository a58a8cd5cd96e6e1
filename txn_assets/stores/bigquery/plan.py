"""What one transaction of the BigQuery store writes: which files, ledger rows and rejects.

`store.py` runs it, and `sql.py` has its statements.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud import bigquery

from txn_assets.files.ledger import Action, LoadRecord, is_news, notes_rejects
from txn_assets.files.values import HashedFile
from txn_assets.stores.bigquery.sql import STAGED_REJECTS, Tables


@dataclass(frozen=True)
class Plan:
    """What one transaction writes.

    Attributes:
        loads: files whose rows are replaced.
        records: new ledger rows, for `loads` and for files whose rows stay the same under a new version.
        held: ledger rows of these files as the caller read them, by name.
        rejects: files for which it is noted why rows were rejected.
    """

    loads: tuple[HashedFile, ...]
    records: tuple[LoadRecord, ...]
    held: dict[str, LoadRecord]
    rejects: tuple[HashedFile, ...]

    def structs(self, tables: Tables) -> list[bigquery.StructQueryParameter]:
        """Return the elements of @incoming in `replace_script`."""
        return [struct(tables, record, self.held.get(record.file.name)) for record in self.records]

    @property
    def compared(self) -> list[str]:
        """The files whose rows replace those of other bytes that were hashed with the same key, so ids are comparable.

        The same bytes under other rules are not a new version, and other columns may be hashed.
        """
        before = ((file, self.held.get(file.version.name)) for file in self.loads)
        return [
            file.version.name
            for file, held in before
            if held and held.totals.rows and held.key_id == file.key_id and held.file.crc32c != file.version.crc32c
        ]

    @property
    def reasons(self) -> int:
        """How many rows `rejects` have: one for each reason of each rejected record."""
        return sum(sum(file.details.reasons.values()) for file in self.rejects if file.details)

    def work_id(self, tables: Tables) -> str:
        """Return the name of the jobs. It covers the ledger rows, so it is a new one after a rejected commit."""
        seen = [f"{name}@{held.file.generation}/{held.run_id}" for name, held in sorted(self.held.items())]
        written = [*(record.run_id for record in self.records[:1]), *(str(record.file) for record in self.records)]
        parts = [tables.dataset, tables.name, *written, *seen]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def make_plan(
    files: Sequence[HashedFile],
    incoming: Mapping[str, LoadRecord],
    actions: Mapping[str, Action],
    held: Mapping[str, LoadRecord],
) -> Plan:
    """Return what to write for `files`, given their ledger rows after the load and before it, and the `actions`."""
    loads = tuple(file for file in files if actions[file.version.name] is Action.LOAD)
    notes = [name for name, action in actions.items() if action is Action.KEEP]
    names = [*(file.version.name for file in loads), *notes]
    records = tuple(
        incoming[name].replacing(held.get(name))
        for name in names
        if is_news(incoming[name], held.get(name), actions[name])
    )
    noted = {record.file.name for record in records}
    rejects = tuple(
        file
        for file in files
        if file.version.name in noted and notes_rejects(incoming[file.version.name], held.get(file.version.name))
    )
    return Plan(loads, records, {name: record for name, record in held.items() if name in noted}, rejects)


def reject_structs(rows: Iterable[Mapping[str, Any]]) -> list[bigquery.StructQueryParameter]:
    """Return `rows`, which say why records were rejected, as the elements of @rejects in `replace_script`."""
    return [
        bigquery.StructQueryParameter(
            None, *(bigquery.ScalarQueryParameter(name, kind, row[name]) for name, kind in STAGED_REJECTS.items())
        )
        for row in rows
    ]


def struct(tables: Tables, record: LoadRecord, seen: LoadRecord | None) -> bigquery.StructQueryParameter:
    """Return `record` and what the caller last saw in the ledger, as an element of @incoming in `replace_script`."""
    values = record.to_row()
    values |= {"seen_generation": seen.file.generation if seen else 0, "seen_run_id": seen.run_id if seen else ""}
    kinds = tables.ledger_columns | {"seen_generation": "INT64", "seen_run_id": "STRING"}
    return bigquery.StructQueryParameter(
        None, *(bigquery.ScalarQueryParameter(name, kinds[name], value) for name, value in values.items())
    )
