"""The command behind `make run`: what it prints, and what it refuses."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from txn_assets.cli import main
from txn_assets.defs.io_managers.values import ValuesIOManager
from txn_assets.environment import project_root
from txn_assets.run import run
from txn_assets_tests.deployment import Deployment, make_config, make_file, make_row

CASES = Path(__file__).parents[1] / "cases"


@pytest.fixture(autouse=True)
def _dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))


type Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs `txn run` in this process; a process of its own takes seconds to start."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = main(["run", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return call


def test_summary(deployment: Deployment) -> None:
    """The summary counts the rows read, valid, rejected with reasons, and held by each store."""
    out = io.StringIO()

    code = run(project_root() / "data" / "transactions.csv", deployment.config, out)

    assert code == 0
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    wanted = ["rows in 5", "valid 4", "rejected 1", "record 4 rejected: product missing (Field required)"]
    assert [line for line in lines if line in wanted] == wanted
    assert {"GCS 4 loaded", "BigQuery 4 loaded", "PostgreSQL 4 loaded"} <= set(lines)
    assert out.getvalue().count("record 4 rejected") == 1


def test_summary_of_warnings(deployment: Deployment) -> None:
    """The summary names a repeated id and a column that is not loaded."""
    out = io.StringIO()

    code = run(CASES / "repeated_id_extra_column.csv", deployment.config, out)

    assert code == 0
    summary = out.getvalue().rpartition("\nrepeated_id_extra_column.csv\n")[2]
    assert "  transaction_ids_unique: 1 ids are on more than one row\n" in summary
    assert "  header_as_expected: unknown columns, not loaded: customer_email\n" in summary


def test_second_run_is_unchanged(deployment: Deployment, tmp_path: Path) -> None:
    """Every store recognizes the same file on the second run."""
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row()))
    run(file, deployment.config, io.StringIO())
    out = io.StringIO()

    code = run(file, deployment.config, out)

    assert code == 0
    assert out.getvalue().count("  unchanged") == 3


def test_failure_is_one_sentence(deployment: Deployment, tmp_path: Path) -> None:
    """A file that cannot be loaded ends with the failing asset's sentence and exit code 1, without a traceback."""
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row(quantity="0")))

    program = [sys.executable, "-m", "txn_assets.run", str(file)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    summary = done.stdout.partition("\n\n")[2]
    assert summary.startswith("FAILED  validated_transactions: No valid transactions in a.csv.")
    assert "Traceback" not in done.stdout
    # DuckDB would complain there about anything still open at exit.
    assert done.stderr == ""


def test_failed_check(deployment: Deployment, tmp_path: Path) -> None:
    """A failed check of severity ERROR shows once, at the top of the summary; each rejected row follows once."""
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row(), make_row(quantity="0"), make_row(price="")))
    out = io.StringIO()

    code = run(file, deployment.config, out)

    assert code == 1
    summary = out.getvalue().partition("\n\n")[2]
    sentence = "FAILED  validated_transactions, rejected_share_within_limit: a.csv: 66.7% of the rows are rejected"
    assert summary.startswith(sentence)
    assert summary.count("FAILED") == 1
    assert [out.getvalue().count(f"record {n} rejected") for n in (2, 3)] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        (["missing.csv"], {}, "There is no file missing.csv"),
        ([__file__], {}, "cannot be landed"),
        (["data/transactions.csv", "--name", "a/../../b.csv"], {}, "cannot be landed"),
        ([], {"TXN_CONFIG": "nowhere.yaml"}, "Cannot read the configuration nowhere.yaml"),
        ([], {"TXN_TARGET": "aws"}, "TXN_TARGET is 'aws'"),
    ],
)
def test_refusals(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environ: dict[str, str],
    sentence: str,
) -> None:
    """Impossible requests are refused in one sentence on standard error."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    done = command(*arguments)

    assert done.returncode == 1
    assert done.stderr.startswith(sentence) or sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_name_that_the_bucket_refuses(command: Command, tmp_path: Path) -> None:
    """A name that the landing zone refuses is reported in one sentence with the cause that the bucket gave."""
    file = tmp_path / f"{'n' * 240}.csv"
    file.write_bytes(make_file(make_row()))

    done = command(str(file))

    assert done.returncode == 1
    assert "is not landed" in done.stderr
    assert "more than 240 bytes between two slashes. " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_name_that_is_too_long_for_derived_names(command: Command, tmp_path: Path) -> None:
    """A file is not landed if its name fits the landing zone but the quarantine's name would be too long."""
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row()))

    done = command("--name", f"{'d/' * 495}a.csv", str(file))

    assert done.returncode == 1
    assert "land the file under a name of at most" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_store_that_refuses_before_the_file_lands(deployment: Deployment, command: Command, tmp_path: Path) -> None:
    """If a store cannot say what a file would replace, its cause is reported in one sentence, and nothing lands."""
    deployment.load("a.csv", make_row())
    landed = deployment.objects()
    deployment.pg.execute(f"ALTER TABLE {deployment.pg_table}_loads DROP COLUMN generation CASCADE")
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row(price="5.00")))

    done = command(str(file))

    assert done.returncode == 1
    assert done.stderr.startswith(f"{file} is not landed: PostgreSQL table {deployment.pg_table} cannot be loaded: ")
    assert len(done.stderr.splitlines()) == 1
    assert deployment.objects() == landed


def test_unknown_executor(
    deployment: Deployment, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown value of TXN_EXECUTOR is refused before the file lands."""
    monkeypatch.setenv("TXN_CONFIG", str(deployment.config_path))
    monkeypatch.setenv("TXN_EXECUTOR", "fastest")
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row()))

    done = command(str(file))

    assert done.returncode == 1
    assert "TXN_EXECUTOR is 'fastest'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not deployment.bucket.blob(f"{deployment.config.data_lake.landing}/a.csv").exists()


@pytest.mark.parametrize(
    ("password", "sentence"), [(None, "TXN_PG_PASSWORD is not set"), ("secret", "no usable Google credentials")]
)
def test_gcp_without_secrets(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    password: str | None,
    sentence: str,
) -> None:
    """On the gcp target, whatever is missing is reported in one sentence."""
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row()))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.delenv("TXN_PG_PASSWORD", raising=False)
    config = tmp_path / "config.yaml"
    make_config(config, {"security": {"hash": {"allow_unkeyed": True}}})
    environ = {"TXN_TARGET": "gcp", "NO_GCE_CHECK": "true", "CLOUDSDK_CONFIG": str(tmp_path / "none")}
    monkeypatch.setenv("TXN_CONFIG", str(config))
    for name, value in (environ | ({"TXN_PG_PASSWORD": password} if password else {})).items():
        monkeypatch.setenv(name, value)

    done = command(str(file))

    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def _make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--old-file=setup", "--no-print-directory", f"--directory={project_root()}", "run", *arguments]
    return subprocess.run(command, env=os.environ | {"NAME": "host"}, capture_output=True, text=True, check=False)


def test_make_takes_a_name_as_typed(deployment: Deployment, tmp_path: Path) -> None:
    """Neither make nor the shell interprets a file's name."""
    name = 'tick`touch gone` cost$USD $(shell touch gone) it\'s "quoted".csv'
    (tmp_path / name).write_bytes(make_file(make_row()))

    done = _make(f"PYTHON={sys.executable}", f"FILE={tmp_path / name}")

    assert done.returncode == 0, done.stderr
    assert len(deployment.rows_everywhere(name)) == 1
    assert not (project_root() / "gone").exists()


def test_make_takes_name_and_replace() -> None:
    """NAME= and REPLACE=1 become the command's options; a NAME in the environment is ignored."""
    plain = _make("PYTHON=echo", "FILE=a.csv")
    both = _make("PYTHON=echo", "FILE=a.csv", "NAME=b$c.csv", "REPLACE=1")

    assert plain.stdout.split() == ["-m", "txn_assets.cli", "run", "--", "a.csv"]
    assert both.stdout.split() == ["-m", "txn_assets.cli", "run", "--name", "b$c.csv", "--replace", "--", "a.csv"]


def test_missing_key(deployment: Deployment, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyed hash without its key is refused in one sentence that names the variable, before the file lands."""
    monkeypatch.delenv("TXN_HASH_KEY", raising=False)
    deployment.configure({"security": {"hash": {"algorithm": "hmac-sha256", "key_id": "2026-11"}}})
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row()))

    done = command(str(file))

    assert done.returncode == 1
    assert "TXN_HASH_KEY has 0 bytes: set it to a secret" in done.stderr
    assert "Traceback" not in done.stderr
    assert not deployment.bucket.blob(f"{deployment.config.data_lake.landing}/a.csv").exists()


def test_failure_of_the_run(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a run fails before its first step, the cause is printed in one line."""
    monkeypatch.setattr(ValuesIOManager, "__init__", lambda *_: 1 / 0)
    out = io.StringIO()

    code = run(project_root() / "data" / "transactions.csv", deployment.config, out)

    assert code == 1
    assert "FAILED  ZeroDivisionError: division by zero" in out.getvalue()


def test_json_log(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With TXN_LOG_FORMAT=json each stage of a file is one JSON object per line, and so is each rejected row."""
    monkeypatch.setenv("TXN_LOG_FORMAT", "json")
    deployment.land("a.csv", make_file(make_row(), make_row(product="")))

    deployment.materialize("a.csv")

    events = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    stages = {event["stage"]: event for event in events if "seconds" in event}
    assert stages["validated_transactions"]["rows"] == 2
    assert stages["postgres_transactions"]["action"] == "loaded"
    (warning,) = [event for event in events if event["level"] == "WARNING"]
    assert (warning["source_row"], warning["reasons"]) == (2, [["product", "missing"]])


def test_dagster_command(deployment: Deployment) -> None:
    """`dagster asset materialize` loads a landed file on a fresh DAGSTER_HOME, where no key is registered."""
    deployment.land("fresh.csv", make_file(make_row()))
    command = ["asset", "materialize", "-m", "txn_assets.definitions", "--select", "*", "--partition", "fresh.csv"]

    done = subprocess.run([Path(sys.executable).with_name("dagster"), *command], capture_output=True, check=False)

    assert done.returncode == 0
    assert len(deployment.rows_everywhere("fresh.csv")) == 1
