"""`make run` asks before a file replaces rows that do not look like its earlier version."""

import io
from pathlib import Path

import pytest

from txn_assets.run import UsageError, run
from txn_assets_tests.deployment import Deployment, make_file, make_row, many_rows

JANUARY = many_rows(3)
FEBRUARY = many_rows(2, start=100, day="2024-02-01")


@pytest.fixture(autouse=True)
def _dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))


def _run(deployment: Deployment, file: Path, *rows: str, name: str | None = None, replace: bool = False) -> str:
    """Write `file`, load it the way `make run` does, and return what was printed."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(make_file(*rows))
    out = io.StringIO()
    assert run(file, deployment.config, out, name=name, replace=replace) == 0
    return out.getvalue()


def test_another_month_under_the_same_name(deployment: Deployment, tmp_path: Path) -> None:
    """Another month under the same name is refused with both ways to proceed, and nothing changes."""
    deployment.load("export.csv", *JANUARY)
    landed = deployment.objects()

    with pytest.raises(UsageError, match=r"3 rows loaded on 20\d\d-.* UTC as 'export.csv'.*REPLACE=1.*NAME="):
        _run(deployment, tmp_path / "feb" / "export.csv", *FEBRUARY)

    assert deployment.objects() == landed
    assert len(deployment.rows_everywhere("export.csv")) == 3

    replaced = _run(deployment, tmp_path / "feb" / "export.csv", *FEBRUARY, replace=True)

    assert "export.csv replaces 3 rows loaded on 20" in replaced
    assert len(deployment.rows_everywhere("export.csv")) == 2


def test_separate_name(deployment: Deployment, tmp_path: Path) -> None:
    """With --name both files are loaded."""
    deployment.load("export.csv", *JANUARY)

    _run(deployment, tmp_path / "feb" / "export.csv", *FEBRUARY, name="feb.csv")

    assert len(deployment.rows_everywhere("export.csv")) == 3
    assert len(deployment.rows_everywhere("feb.csv")) == 2


def test_corrected_file(deployment: Deployment, tmp_path: Path) -> None:
    """One common id is enough: the file replaces its earlier version and says so."""
    deployment.load("export.csv", *JANUARY)

    printed = _run(deployment, tmp_path / "export.csv", *FEBRUARY, JANUARY[2])

    assert "export.csv replaces 3 rows loaded on 20" in printed
    assert len(deployment.rows_everywhere("export.csv")) == 3


def test_same_content(deployment: Deployment, tmp_path: Path) -> None:
    """The same content replaces nothing, even if the landing zone has been emptied since."""
    deployment.load("export.csv", *JANUARY)
    deployment.bucket.blob(f"{deployment.config.data_lake.landing}/export.csv").delete()

    assert "replaces" not in _run(deployment, tmp_path / "export.csv", *JANUARY)


@pytest.mark.parametrize("gone", ["postgres", "another key"])
def test_ids_that_cannot_be_compared(
    deployment: Deployment, tmp_path: Path, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that only the data lake holds, or that were hashed with another key, are not replaced without a question."""
    deployment.load("export.csv", *JANUARY)
    if gone == "postgres":
        deployment.pg.execute(f"DELETE FROM {deployment.pg_table}_loads")
        deployment.pg.execute(f"DELETE FROM {deployment.pg_table}")
    else:
        monkeypatch.setenv("TXN_HASH_KEY", "k" * 32)
        deployment.configure({"security": {"hash": {"algorithm": "hmac-sha256", "key_id": "2026-11"}}})

    with pytest.raises(UsageError, match="their ids cannot be compared"):
        _run(deployment, tmp_path / "export.csv", *JANUARY[:2])


def test_ids_under_the_previous_key(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a rotation, ids are compared under the key that the stores have them under."""
    deployment.load("export.csv", *JANUARY)
    monkeypatch.setenv("TXN_HASH_KEY", "k" * 32)
    previous = {"algorithm": "sha256"}
    deployment.configure({"security": {"hash": {"algorithm": "hmac-sha256", "key_id": "k2", "previous": previous}}})

    with pytest.raises(UsageError, match="none of the ids in this file is among theirs"):
        _run(deployment, tmp_path / "export.csv", *FEBRUARY)
    assert "replaces 3 rows" in _run(deployment, tmp_path / "export.csv", *JANUARY[:2])


def test_file_without_valid_rows(deployment: Deployment, tmp_path: Path) -> None:
    """A file without valid rows would not be loaded, so it does not replace a loaded file in the landing zone."""
    deployment.load("export.csv", *JANUARY)

    with pytest.raises(UsageError, match="this file has no valid row with an id"):
        _run(deployment, tmp_path / "export.csv", make_row(quantity="0"))


def test_file_that_cannot_be_read(deployment: Deployment, tmp_path: Path) -> None:
    """A file that cannot be read as transactions does not replace a loaded file in the landing zone."""
    deployment.load("export.csv", *JANUARY)
    landed = deployment.objects()
    file = tmp_path / "export.csv"
    file.write_text("a,b\n1,2\n")

    with pytest.raises(UsageError, match="is not a transaction file"):
        run(file, deployment.config, io.StringIO())

    assert deployment.objects() == landed
