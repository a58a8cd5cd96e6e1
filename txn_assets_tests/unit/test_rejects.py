"""The rows that say why records were rejected agree with the counts in the report, whatever the reasons."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from txn_assets.files.ledger import FileVersion
from txn_assets.files.report import Reason
from txn_assets.rows.rejects import REASONS, read_rejects, reasons_of, write_rejects
from txn_assets.rows.validation import RejectedRows, count_reasons

VERSION = FileVersion("حلال\t1.csv", 1_700_000_000_000_001, 300, "AAAAAA==")


def make_rejected(draw: random.Random, *, first: int) -> RejectedRows:
    """Return rejected rows with one to four reasons each, some of them about the whole row."""
    rows = draw.randrange(50)
    reasons = tuple(
        tuple(
            Reason(draw.choice(("", "price", "product")), draw.choice(("missing", "decimal")), "no value")
            for _ in range(draw.randint(1, 4))
        )
        for _ in range(rows)
    )
    return RejectedRows(pa.array(range(first, first + rows), pa.int64()), pa.record_batch({}), reasons)


@pytest.mark.parametrize("seed", range(20))
def test_rows_agree_with_the_counts(tmp_path: Path, seed: int) -> None:
    """Each reason of each record is a row with its version and run, through both files, and the counts agree."""
    draw = random.Random(seed)
    blocks = [make_rejected(draw, first=first) for first in (1, 1000, 2000)]
    with pa.OSFile(str(tmp_path / "reasons"), "wb") as sink, pa.ipc.new_stream(sink, REASONS) as writer:
        for block in blocks:
            writer.write_batch(reasons_of(block))

    write_rejects(tmp_path / "reasons", tmp_path / "rejects", file=VERSION)
    found = [row for batch in read_rejects(tmp_path / "rejects", "run") for row in batch.to_pylist()]

    assert [(row["source_row"], row["field"], row["code"]) for row in found] == [
        (source_row, reason.field or "row", reason.code)
        for block in blocks
        for source_row, reasons in zip(block.source_row.to_pylist(), block.reasons, strict=True)
        for reason in reasons
    ]
    assert len(found) == sum(count_reasons(block).total() for block in blocks)
    assert {(row["source_file"], row["generation"], row["run_id"]) for row in found} <= {
        (VERSION.name, VERSION.generation, "run")
    }
