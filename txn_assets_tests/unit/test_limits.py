"""The section `limits`: what is larger is refused with a sentence that names the key, or costs its row."""

import gzip
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from txn_assets.cli import main
from txn_assets.config import load_config
from txn_assets.environment import ConfigError
from txn_assets.feeds.configured import find_feed
from txn_assets.upload.header import check_head
from txn_assets.upload.problems import Problem
from txn_assets_tests.deployment import make_config

HEADER = "transaction_id,product,price,quantity,date"
ROW = "T1,Desk,1.50,2,2024-01-31"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "pipeline_config.yaml"
    make_config(path)
    monkeypatch.setenv("TXN_CONFIG", str(path))
    return path


def _limit(config: Path, **limits: Any) -> None:
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"limits": limits}))


def _check(capsys: pytest.CaptureFixture[str], file: Path, data: bytes) -> dict[str, Any]:
    file.write_bytes(data)
    main(["check", str(file), "--json"])
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def _csv(*rows: str, header: str = HEADER) -> bytes:
    return "".join(f"{line}\n" for line in (header, *rows)).encode()


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("limits", "data", "sentence"),
    [
        (
            {"file_bytes": 1 << 10},
            _csv(*[ROW] * 100),
            "it has more than 1 KiB, the limit of limits.file_bytes: send it in parts, or raise the limit.",
        ),
        (
            {"expanded_bytes": 3 << 20},
            gzip.compress(_csv(ROW) + b"\n" * (3 << 20)),
            "it unpacks to more than 3 MiB, what limits.expanded_bytes and the scratch space (TXN_SCRATCH_LIMIT) "
            "allow: send it in parts, or raise the limit.",
        ),
        (
            {"expanded_bytes": 1 << 10},
            _csv(*[ROW] * 100),
            "it has more than 1 KiB, what limits.expanded_bytes and the scratch space (TXN_SCRATCH_LIMIT) "
            "allow: send it in parts, or raise the limit.",
        ),
        (
            {"columns": 6},
            _csv(f"{ROW},1,2", header=f"{HEADER},c1,c2"),
            "its header has 7 columns, more than the 6 of limits.columns: send only the columns of the feed.",
        ),
    ],
    ids=["file", "unpacked", "never packed", "columns"],
)
def test_too_large_file_is_refused(
    capsys: pytest.CaptureFixture[str], config: Path, limits: Any, data: bytes, sentence: str
) -> None:
    """A file over a limit is refused with a sentence that names the key and the remedy."""
    file = config.with_name("a.csv")
    assert _check(capsys, file, data)["exit_code"] == 0
    _limit(config, **limits)
    assert _check(capsys, file, data)["refused"] == f"a.csv is not a transaction file: {sentence}"


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("compress", [gzip.compress, _zip, _zstd])
def test_bomb_is_refused_early(capsys: pytest.CaptureFixture[str], tmp_path: Path, config: Path, compress: Any) -> None:
    """A file that unpacks to far more than its size is refused, unless what it unpacks to is harmless anyway."""
    drawn = random.Random(1)
    rows = [f"T{drawn.randrange(10**12)},Desk,1.50,2,2024-01-31" for _ in range(100)]
    bomb = compress(_csv(*rows) + b"\n" * (17 << 20))
    assert _check(capsys, tmp_path / "a.csv", bomb)["refused"].endswith(
        "data unpacks to more than 200 times its size, the limit of limits.expansion_ratio: "
        "send it without compression, or raise the limit."
    )
    small = compress(_csv(*rows) + b"\n" * (12 << 20))
    assert _check(capsys, tmp_path / "a.csv", small)["rows"]["valid"] == len(rows)
    _limit(config, expansion_ratio=50_000)
    assert _check(capsys, tmp_path / "a.csv", bomb)["rows"]["valid"] == len(rows)


@pytest.mark.parametrize(
    ("limits", "row"),
    [
        ({"field_bytes": 100}, f"T1,{'x' * 101},1.50,2,2024-01-31"),
        ({"line_bytes": 100}, f"T1,{'x' * 50},1.50,2,2024-01-31{' ' * 50}"),
    ],
)
def test_too_long_row_is_rejected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config: Path, limits: Any, row: str
) -> None:
    """A row over a limit is rejected with the keys in its reason; the default limits accept it."""
    data = _csv(ROW, row, ROW)
    assert _check(capsys, tmp_path / "a.csv", data)["rows"] == {"in": 3, "valid": 3, "rejected": 0}
    _limit(config, **limits)
    found = _check(capsys, tmp_path / "a.csv", data)
    assert found["rows"] == {"in": 3, "valid": 2, "rejected": 1}
    field, line = limits.get("field_bytes", "1 MiB"), limits.get("line_bytes", "32 MiB")
    (rejected,) = found["rejected_rows"]
    assert rejected["reasons"][0]["message"] == (
        f"The row is too long: a field may have {field}{' bytes' if field == 100 else ''} (limits.field_bytes), a row "
        f"{line}{' bytes' if line == 100 else ''} (limits.line_bytes)"
    )


def test_row_limits_are_part_of_the_rules(config: Path) -> None:
    """Files are loaded again after a change of a limit that rejects rows, and not after one that refuses files."""
    before = find_feed(load_config(), None).rules_id
    _limit(config, columns=10, file_bytes=10)
    assert find_feed(load_config(), None).rules_id == before
    _limit(config, field_bytes=10)
    assert find_feed(load_config(), None).rules_id != before


def test_limits_that_no_test_has_seen_are_refused(config: Path) -> None:
    """Rows and headers cannot be allowed to be larger than what memory is measured with."""
    _limit(config, field_bytes=1 << 30, columns=1 << 20, expansion_ratio=0)
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert all(key in str(caught.value) for key in ("limits.field_bytes", "limits.columns", "limits.expansion_ratio"))


def test_upload_is_limited_before_it_lands(config: Path) -> None:
    """The upload service refuses what a load would refuse: the size, and what the first bytes show."""
    _limit(config, file_bytes=1000, columns=10)
    loaded = load_config()
    assert loaded.max_upload_bytes == 1000
    head = _csv(ROW, header=HEADER + ",c" * 20)
    with pytest.raises(Problem, match=r"header has 25 columns, more than the 10 of limits\.columns"):
        check_head(head, find_feed(loaded, None), is_whole=True)
