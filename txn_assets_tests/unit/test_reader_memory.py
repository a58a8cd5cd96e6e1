"""Memory during validation stays below 1 GiB, whatever the file holds. Each file gets its own process."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import datetime as dt, sys
from io import BytesIO
from pathlib import Path
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.files.run_folder import RunFolder
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.processing import validate_file
from txn_assets.rows.reading import Reading

folder, extra, filler = RunFolder(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3].encode().decode("unicode_escape")
header = "transaction_id,product,price,quantity,date" + "".join(f",c{number}" for number in range(extra))
good = "".join(f"T{number},Desk,9.99,1,2024-01-31" + "," * extra + "\\n" for number in range(10))
data = f"{header}\\n{good}".encode() + filler.encode() * (int(sys.argv[4]) // len(filler))
hasher = Hasher(("transaction_id",), None, "sha256")
reading = Reading(contract=CONTRACT.on(dt.date(2024, 9, 1)))
report = validate_file(BytesIO(data), folder, reading=reading, hasher=hasher)
assert report.records == report.valid + report.rejected
# The peak of this process alone: ru_maxrss begins with that of the test that started it.
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(report.valid, report.rejected, peak)
"""


@pytest.mark.parametrize(
    ("extra", "filler", "mebibytes", "rejected"),
    [
        (0, ",,,,\\n", 16, 0),
        # Fewer rows, because rejecting a row takes longest; as one block they took 1.2 GiB.
        (0, "x\\n", 6, 3 << 20),
        (0, '"', 16, 1),
        (10_000, "x", 16, 1),
        (10_000, "xx,", 16, 1),
    ],
    ids=["blank lines", "rejected rows", "quotes", "endless field", "endless record"],
)
def test_memory_is_below_one_gibibyte(tmp_path: Path, extra: int, filler: str, mebibytes: int, rejected: int) -> None:
    """Memory stays below 1 GiB for a file with many copies of `filler` after ten good rows."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(extra), filler, str(mebibytes << 20)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    valid, found, kibibytes = map(int, done.stdout.split())
    assert (valid, found) == (10, rejected)
    assert kibibytes < 1 << 20
