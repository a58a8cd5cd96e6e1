"""The careful row loop: csv.DictReader, the platform's own contract as a Pydantic model per row, reasons kept.

It validates the way the platform does and writes the same quarantine, so it is the peer for files with only bad rows.
"""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from benchmarks.child import Timer
from txn_assets.feeds.transaction import CONTRACT, Transaction


def run(timer: Timer, *, path: str, folder: str) -> dict[str, int]:
    """Turn the CSV file into hashed.parquet and rejected.csv in `folder`; return the number of rows in each."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with timer():
        valid, rejected = [], 0
        reasons: Counter[str] = Counter()
        with (
            Path(path).open(encoding="utf-8", newline="") as source,
            (Path(folder) / "rejected.csv").open("w", encoding="utf-8", newline="") as target,
        ):
            writer = csv.writer(target)
            writer.writerow(["source_row", *CONTRACT.names, "reasons"])
            for number, row in enumerate(csv.DictReader(source), 1):
                digest = hashlib.sha256(row["transaction_id"].encode()).hexdigest() if row["transaction_id"] else ""
                try:
                    transaction = Transaction.model_validate(row)
                except ValidationError as error:
                    found = [f"{fault['loc'][0]}: {fault['type']}" for fault in error.errors(include_url=False)]
                    reasons.update(found)
                    rejected += 1
                    writer.writerow([number, digest, *(row[name] for name in CONTRACT.names[1:]), "; ".join(found)])
                else:
                    valid.append(transaction.model_dump() | {"transaction_id": digest})
        pq.write_table(pa.Table.from_pylist(valid), Path(folder) / "hashed.parquet")
    return {"valid": len(valid), "rejected": rejected}
