"""Leave out the rows of erased persons, whole columns at a time. Persons are known by hashes of a field.

`files/erasures.py` has the requests, and `processing.py` calls this for valid and for rejected rows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.quarantine import digests_of
from txn_assets.rows.validation import RejectedRows

type Erased = Sequence[tuple[Hasher, Mapping[str, Collection[str]]]]
"""The hashes of the persons to leave out, by field, with the hasher that makes them."""


def without_erased(
    valid: Path, batches: Iterable[pa.RecordBatch], erased: Mapping[str, Collection[str]], *, hasher: Hasher
) -> Iterable[pa.RecordBatch]:
    """Return the `batches` of the Arrow stream `valid` without the rows that have a hash in `erased`, by field.

    The rows are looked for first, which hashes the field once more: a join in the query that writes the rows would lose
    their order, and with it the same bytes for the same file.
    """
    found = [_matches(valid, "source_row", name, digests, hasher) for name, digests in erased.items()]
    numbers = pa.array([number for of_field in found for number in of_field], pa.int64())
    if not len(numbers):
        return batches
    return (batch.filter(pc.invert(pc.is_in(batch["source_row"], numbers))) for batch in batches)


def rehash(valid: Path, digests: Mapping[str, Collection[str]], *, old: Hasher, new: Hasher) -> dict[str, str]:
    """Return the hashes by `new` of the values in the Arrow stream `valid` whose hashes by `old` are in `digests`.

    They are keyed by the hash by `old`.
    """
    values = (value for name, of_field in digests.items() for value in _matches(valid, name, name, of_field, old))
    return {old.hexdigest(value): new.hexdigest(value) for value in values}


def _matches(valid: Path, column: str, field: str, digests: Collection[str], hasher: Hasher) -> list[Any]:
    """Return the distinct values of `column` in the rows of `valid` whose `field` has one of the hashes `digests`."""
    with connect(valid.parent) as connection, pa.OSFile(str(valid)) as source, pa.ipc.open_stream(source) as rows:
        connection.register("valid", rows)
        connection.register("wanted", pa.table({"digest": sorted(digests)}))
        found = connection.execute(
            f'SELECT DISTINCT found FROM (SELECT "{column}" AS found, {hasher.select_list([field])} FROM valid) '  # noqa: S608 - columns of the contract
            # coalesce, because DuckDB would make a plain IN a join whose hash table has the rows of the file.
            f'AS hashed WHERE coalesce(hashed."{field}" IN (SELECT digest FROM wanted), false)',
            hasher.parameters(),
        ).fetchall()
    return [value for (value,) in found]


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
