"""Leave out the rows of erased persons, whole columns at a time. Persons are known by hashes of a field.

`files/erasures.py` has the requests, and `processing.py` calls this for valid and for rejected rows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.quarantine import digests_of
from txn_assets.rows.validation import RejectedRows

type Erased = Sequence[tuple[Hasher, Mapping[str, Collection[str]]]]
"""The hashes of the persons to leave out, by field, with the hasher that makes them."""


def anti_join(connection: duckdb.DuckDBPyConnection, rows: str, erased: Mapping[str, Collection[str]]) -> str:
    """Return the query for the hashed `rows`, a query, that have none of the hashes in `erased`, by field.

    A join, because DuckDB would move a condition below the hashing and hash each value twice.
    """
    joins = ""
    for number, (name, digests) in enumerate(erased.items()):
        connection.register(f"erased_{number}", pa.table({"digest": sorted(digests)}))
        joins += f' ANTI JOIN erased_{number} ON hashed."{name}" = erased_{number}.digest'
    return f"SELECT hashed.* FROM ({rows}) AS hashed{joins}" if joins else rows  # noqa: S608 - columns of the contract


def rehash(valid: Path, digests: Mapping[str, Collection[str]], *, old: Hasher, new: Hasher) -> dict[str, str]:
    """Return the hashes by `new` of the values in the Arrow stream `valid` whose hashes by `old` are in `digests`.

    They are keyed by the hash by `old`.
    """
    found: dict[str, str] = {}
    for name, of_field in digests.items():
        with connect(valid.parent) as connection, pa.OSFile(str(valid)) as source, pa.ipc.open_stream(source) as rows:
            connection.register("valid", rows)
            connection.register("wanted", pa.table({"digest": sorted(of_field)}))
            values = connection.execute(
                f'SELECT DISTINCT clear FROM (SELECT "{name}" AS clear, {old.select_list([name])} '  # noqa: S608 - a column of the contract
                f'FROM valid) AS hashed SEMI JOIN wanted ON hashed."{name}" = wanted.digest',
                old.parameters(),
            ).fetchall()
        found |= {old.hexdigest(value): new.hexdigest(value) for (value,) in values}
    return found


def leave_out(rejected: RejectedRows, erased: Erased) -> RejectedRows:
    """Return `rejected` without the rows of the persons `erased`."""
    if not len(rejected) or not erased:
        return rejected
    is_erased = pa.array([False] * len(rejected))
    for hasher, digests in erased:
        for name, of_field in digests.items():
            known = pa.array(sorted(of_field), pa.string())
            is_erased = pc.or_(is_erased, pc.is_in(digests_of(rejected.fields[name], hasher), known))
    if not pc.any(is_erased).as_py():
        return rejected
    keep = pc.invert(is_erased)
    return replace(
        rejected,
        source_row=rejected.source_row.filter(keep),
        fields=rejected.fields.filter(keep),
        reasons=tuple(compress(rejected.reasons, keep.to_pylist())),
    )
