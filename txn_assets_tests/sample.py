"""Check the stores after loading `data/transactions.csv`: `python -m txn_assets_tests.sample check|quarantine`.

It reads what the sample file must leave behind with the stores' own clients. CI loads the file with Dagster's own
command first; see docs/ci.md.
"""

import argparse
import hashlib
import sys
from decimal import Decimal
from pathlib import Path

from txn_assets.environment import project_root
from txn_assets_tests.deployment import SINKS, Deployment

NAME = "transactions.csv"

EXPECTED = [
    (hashlib.sha256(id_.encode()).hexdigest(), product, Decimal(price), quantity, date)
    for id_, product, price, quantity, date in (
        ("T001", "Halal Laptop", "999.99", 2, "2023-10-01"),
        ("T002", "Halal Mouse", "24.99", 10, "2023-10-02"),
        ("T003", "Halal Keyboard", "49.99", 5, "2023-10-03"),
        ("T005", "Monitor", "199.99", 2, "2023-10-05"),
    )
]
"""Valid rows of the sample; T004 has no product."""


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m txn_assets_tests.sample")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("check", help="compare the three stores with the file").set_defaults(run=check)
    quarantined = commands.add_parser("quarantine", help="download the rejected rows")
    quarantined.add_argument("folder", type=Path)
    quarantined.set_defaults(run=quarantine)
    arguments = parser.parse_args()
    with Deployment.open(project_root() / "data" / "pipeline_config.yaml") as deployment:
        return int(arguments.run(deployment, arguments))


def check(deployment: Deployment, _: argparse.Namespace) -> int:
    """Print rows and sum of each store; return 1 if one of them holds the wrong rows."""
    found = {store: deployment.rows(store, NAME) for store in SINKS}
    for store, rows in found.items():
        state = "as expected" if rows == sorted(EXPECTED) else f"NOT AS EXPECTED: {rows}"
        sys.stdout.write(f"{store:<26} {len(rows)} rows, price {sum(row[2] for row in rows)}: {state}\n")
    return int(any(rows != sorted(EXPECTED) for rows in found.values()))


def quarantine(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Download the quarantine of the file to the folder, under its name below the prefix."""
    prefix = f"{deployment.config.data_lake.quarantine}/"
    for blob in deployment.bucket.list_blobs(prefix=f"{prefix}{NAME}/"):
        path = arguments.folder / blob.name.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        blob.download_to_filename(str(path))
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
