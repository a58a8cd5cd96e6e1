"""The SQL of the BigQuery sink, as functions that a test can read.

Here belong statements and the columns that they speak of; names are quoted here, values are bound by the caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass

COLUMNS = {
    "transaction_id": "STRING",
    "product": "STRING",
    "price": "NUMERIC",
    "quantity": "INT64",
    "date": "DATE",
    "source_file": "STRING",
    "source_row": "INT64",
}

STAGED_COLUMNS = {name: COLUMNS[name] for name in ("source_file", "source_row")} | {
    name: kind for name, kind in COLUMNS.items() if not name.startswith("source_")
}
"""In the order of `hashed_rows.COLUMNS`."""

LEDGER_COLUMNS = {
    "source_file": "STRING",
    "generation": "INT64",
    "size": "INT64",
    "crc32c": "STRING",
    "run_id": "STRING",
    "key_id": "STRING",
    "rules_id": "STRING",
    "row_count": "INT64",
    "sum_price": "NUMERIC",
    "sum_quantity": "NUMERIC",
    "min_date": "DATE",
    "max_date": "DATE",
    "fingerprint": "INT64",
    "loaded_at": "TIMESTAMP",
}

STAGING_PREFIX = "_txn_staging_"

MOVED = "another load committed in between"
"""What the transaction says when the ledger is no longer as its caller saw it."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The data table and its ledger beside it."""

    project: str
    dataset: str
    name: str

    @property
    def data(self) -> str:
        """The data table, quoted."""
        return self.quoted(self.name)

    @property
    def ledger(self) -> str:
        """The ledger, `<table>_loads`, quoted."""
        return self.quoted(f"{self.name}_loads")

    def quoted(self, table: str) -> str:
        """A table of the dataset, quoted; the configuration lets no quote into a name."""
        return f"`{self.project}.{self.dataset}.{table}`"


def held_query(tables: Tables) -> str:
    """The newest ledger row of each file; binds @names."""
    columns = ", ".join(LEDGER_COLUMNS)
    return (
        f"SELECT {columns} FROM {tables.ledger} WHERE source_file IN UNNEST(@names) "  # noqa: S608 - quoted names
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY source_file ORDER BY generation DESC) = 1"
    )


def generations_query(tables: Tables) -> str:
    """The newest generation of each file in the ledger."""
    return f"SELECT source_file, MAX(generation) FROM {tables.ledger} WHERE source_file != '' GROUP BY source_file"  # noqa: S608 - quoted names


def totals_query(tables: Tables, id_digits: str) -> str:
    """The totals of each of some files; binds @names."""
    digits = id_digits.replace("md5(transaction_id)", "TO_HEX(MD5(transaction_id))")
    return (
        "SELECT source_file, COUNT(*), SUM(price), SUM(CAST(quantity AS NUMERIC)), MIN(date), MAX(date), "  # noqa: S608 - quoted names
        f"BIT_XOR(CAST(CONCAT('0x', SUBSTR({digits}, 1, 15)) AS INT64)) FROM {tables.data} "
        "WHERE source_file IN UNNEST(@names) GROUP BY source_file"
    )


def rows_query(tables: Tables) -> str:
    """The rows of some files; binds @names."""
    return (
        f"SELECT {', '.join(COLUMNS)} FROM {tables.data} WHERE source_file IN UNNEST(@names) "  # noqa: S608 - quoted names
        "ORDER BY source_file, source_row"
    )


def lock_row_statement(tables: Tables) -> str:
    """Adds the ledger row that every load updates, so that two loads at once conflict; it names no file."""
    return (
        f"INSERT INTO {tables.ledger} (source_file, generation, run_id, loaded_at) "  # noqa: S608 - quoted names
        "VALUES ('', 0, 'lock', CURRENT_TIMESTAMP())"
    )


def replace_script(tables: Tables, staging: str | None, types: Mapping[str, str]) -> str:
    """The transaction that replaces files and writes their ledger rows, all or nothing.

    Binds @incoming (the ledger rows, each with the generation and run that the caller saw there), @replaced (the files
    of `staging` that are in the table already) and @first_date and @last_date (between which their rows lie).
    Without `staging` no rows change and the ledger rows alone are written.
    """
    ledger = [name for name in LEDGER_COLUMNS if name != "loaded_at"]
    steps = [
        "BEGIN TRANSACTION",
        # BigQuery lets transactions that only insert pass each other; this row makes any two loads conflict.
        f"UPDATE {tables.ledger} SET loaded_at = CURRENT_TIMESTAMP() WHERE source_file = ''",  # noqa: S608 - quoted names
        f"ASSERT NOT EXISTS (SELECT 1 FROM {tables.ledger} AS l JOIN UNNEST(@incoming) AS i "  # noqa: S608 - quoted names
        "ON l.source_file = i.source_file WHERE l.generation > i.seen_generation "
        f"OR (l.generation = i.seen_generation AND l.run_id != i.seen_run_id)) AS '{MOVED}'",
    ]
    if staging is not None:
        columns = ", ".join(COLUMNS)
        values = ", ".join(f"CAST({name} AS {_standard(types.get(name, kind))})" for name, kind in COLUMNS.items())
        steps += [
            f"DELETE FROM {tables.data} WHERE source_file IN UNNEST(@replaced) "  # noqa: S608 - quoted names
            "AND (date BETWEEN @first_date AND @last_date OR date IS NULL)",
            f"INSERT INTO {tables.data} ({columns}) SELECT {values} FROM {tables.quoted(staging)}",  # noqa: S608 - quoted names
        ]
    steps += [
        f"DELETE FROM {tables.ledger} AS l WHERE EXISTS (SELECT 1 FROM UNNEST(@incoming) AS i "  # noqa: S608 - quoted names
        "WHERE i.source_file = l.source_file AND i.generation = l.generation)",
        f"INSERT INTO {tables.ledger} ({', '.join(ledger)}, loaded_at) "  # noqa: S608 - quoted names
        f"SELECT {', '.join('i.' + name for name in ledger)}, CURRENT_TIMESTAMP() FROM UNNEST(@incoming) AS i",
        "COMMIT TRANSACTION",
    ]
    return ";\n".join(steps) + ";"


def is_conflict(message: str) -> bool:
    """Whether BigQuery gave a transaction up because another one was faster."""
    text = message.lower()
    # The embedded server says no more of a conflict than that the commit failed.
    return MOVED in text or "concurrent" in text or "conflict" in text or "failed to commit" in text


def is_lost_staging(message: str) -> bool:
    """Whether a staging table is gone: another run of the same file removed it when it was done."""
    text = message.lower()
    return STAGING_PREFIX in text and "not found" in text


def _standard(kind: str) -> str:
    return {"FLOAT": "FLOAT64", "INTEGER": "INT64"}.get(kind, kind)
