"""The configuration: what loads, what is refused, and that each refusal says what to do."""

import copy
import datetime as dt
import os
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from pydantic import ValidationError

from txn_assets.config import PipelineConfig, load_config
from txn_assets.environment import (
    ConfigError,
    local_runs,
    project_root,
    scratch_limit,
    txn_executor,
    txn_home,
    txn_target,
)
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.rows.reader.file_format import FileFormat

SHARED_FILE = project_root() / "data" / "pipeline_config.yaml"
SHARED = yaml.safe_load(SHARED_FILE.read_text(encoding="utf-8"))
CASES = Path(__file__).parent.parent / "cases"

type Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a configuration file and returns its path."""

    def write_text(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def changed(**keys: object) -> str:
    """Return the shared configuration with some keys changed, each given as `section__key`."""
    content = copy.deepcopy(SHARED)
    for path, value in keys.items():
        *sections, key = path.split("__")
        section = content
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    return yaml.safe_dump(content)


def load(path: Path, **environ: str) -> PipelineConfig:
    """Load the configuration at `path`, with `environ` as the whole environment."""
    with patch.dict(os.environ, environ, clear=True):
        return load_config(path)


def refusal(path: Path, **environ: str) -> str:
    """Return the message about a configuration that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        load(path, **environ)
    return str(caught.value)


class TestSharedFile:
    """The organization's file, unchanged."""

    def test_loads(self) -> None:
        """The shared file loads, and its values are the platform's."""
        config = load(SHARED_FILE)
        assert config.data_lake.gcs_bucket == "hijra-transactions"
        assert config.data_warehouse.table == "raw_transactions"
        assert config.security.pii_fields == ("transaction_id",)
        assert config.orchestration.schedule == "0 0 * * *"

    def test_what_the_platform_adds_has_defaults(self) -> None:
        """Settings that the platform adds have defaults, so the file may omit them."""
        config = load(SHARED_FILE)
        assert config.data_lake.landing == "landing/transactions"
        assert config.data_lake.format == "csv"
        assert config.data_warehouse.postgres.table == "transactions"
        assert config.security.hash.algorithm == "sha256"
        assert config.ingestion.max_invalid_ratio == Decimal("0.5")
        assert len(config.ingestion.validation.required_fields) == 5

    def test_cannot_be_changed_afterwards(self) -> None:
        """A loaded configuration is immutable, because a run has one configuration."""
        with pytest.raises(ValueError, match="frozen"):
            load(SHARED_FILE).data_lake.path = "x"


class TestLaterChapters:
    """The organization's files of later chapters, unchanged."""

    def test_marts(self) -> None:
        """The file that adds PostgreSQL, rules and trusted input loads, and the marts are the two that it names."""
        config = load(CASES / "pipeline_config_marts.yaml")
        assert config.data_warehouse.postgres.secret_name == "postgres-credentials"
        assert config.transformation.models == ("sales_by_product", "sales_by_date")
        assert (config.data_mart.dataset, config.data_mart.table) == ("transactions_mart", "sales_by_product")
        assert config.ingestion.trust_input
        assert config.ingestion.validation.min_price == 10

    def test_api_with_its_secret(self) -> None:
        """The file that carries a JWT secret is refused with the variable to use, and nothing else is wrong with it."""
        path = CASES / "pipeline_config_api.yaml"
        assert refusal(path) == (
            f"{path} cannot be used:\n"
            "  - security.jwt_secret is a secret. Set it with the environment variable TXN_JWT_SECRET instead"
        )

    def test_api_without_its_secret(self, write: Write) -> None:
        """Without that line it loads, with three other marts, and goes to a run as it is."""
        text = (CASES / "pipeline_config_api.yaml").read_text()
        config = load(write(re.sub(r"  jwt_secret: .*\n", "", text)))
        assert config.transformation.models == ("fact_sales", "pg_sales", "summary_sales")
        assert config.data_mart.table == "summary_sales"
        assert PipelineConfig.model_validate_json(config.model_dump_json(by_alias=True)) == config

    def test_unknown_model_is_refused(self, write: Write) -> None:
        """A model that the platform does not have is refused with those that it has."""
        message = refusal(write(changed(transformation__models=["sales_by_store"])))
        assert "transformation.models.0: input should be 'sales_by_product', 'sales_by_date'" in message

    def test_trusted_input_skips_optional_rules_only(self) -> None:
        """Trusted input lifts the bounds of the file, and keeps required fields and what is hashed."""
        config = load(CASES / "pipeline_config_marts.yaml")
        (trusting,) = feeds_of(config)
        checked = config.ingestion.model_copy(update={"trust_input": False})
        (checking,) = feeds_of(config.model_copy(update={"ingestion": checked}))
        cheap = {"transaction_id": "T1", "product": "Pen", "price": "0.005", "quantity": "500", "date": "2023-10-01"}

        assert trusting.contract.model.model_validate(cheap)
        with pytest.raises(ValidationError) as caught:
            checking.contract.model.model_validate(cheap)
        assert {error["loc"][0] for error in caught.value.errors()} == {"product", "price", "quantity"}
        for broken in ({"price": "free"}, {"quantity": "0"}, {"date": "2023-13-01"}, {"product": ""}):
            with pytest.raises(ValidationError):
                trusting.contract.model.model_validate(cheap | broken)
        assert trusting.pii_fields == checking.pii_fields == ("transaction_id",)


class TestPlace:
    """Which file is read."""

    def test_project_file_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The project's file is the default, whatever the working directory is."""
        for name in ("TXN_CONFIG", "BUCKET_NAME"):
            monkeypatch.delenv(name, raising=False)
        assert load_config() == load(SHARED_FILE)

    def test_txn_config_names_another(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        """TXN_CONFIG names another file, as in the environment of a pod."""
        monkeypatch.setenv("TXN_CONFIG", str(write(changed(data_lake__path="elsewhere"))))
        assert load_config().data_lake.path == "elsewhere"

    def test_missing_file(self, tmp_path: Path) -> None:
        """The message about a missing file names the variable that selects the file."""
        path = tmp_path / "none.yaml"
        assert refusal(path) == (
            f"Cannot read the configuration {path}: No such file or directory. Set TXN_CONFIG to the file to use."
        )

    def test_bucket_name_overrides_the_bucket(self, write: Write) -> None:
        """BUCKET_NAME overrides the bucket, so that one file serves several environments."""
        assert load(write(changed()), BUCKET_NAME="another-bucket").data_lake.gcs_bucket == "another-bucket"

    def test_empty_bucket_name_overrides_nothing(self, write: Write) -> None:
        """An empty variable counts as unset."""
        assert load(write(changed()), BUCKET_NAME="").data_lake.gcs_bucket == "hijra-transactions"

    def test_bucket_name_must_follow_the_rules(self, write: Write) -> None:
        """A bucket name from the environment must follow the same rules as one in the file."""
        assert "data_lake.gcs_bucket" in refusal(write(changed()), BUCKET_NAME="Not A Bucket")


class TestYaml:
    """Text that has no configuration."""

    def test_position_of_a_syntax_error_is_named(self, write: Write) -> None:
        """A syntax error is reported with line and column, counted as editors count them."""
        assert "line 2, column 10 is not valid YAML" in refusal(write("pipeline: [1\ndata_lake: {}\n"))

    @pytest.mark.parametrize("text", ["", "just text", "- a\n- b\n"])
    def test_file_without_a_mapping_is_refused(self, write: Write, text: str) -> None:
        """A file without a mapping is refused, and so is an empty file."""
        assert "has no configuration" in refusal(write(text))

    def test_repeated_key_is_refused(self, write: Write) -> None:
        """A repeated key is refused, because YAML would silently take the last one."""
        message = refusal(write(changed() + "pipeline: {name: x, version: y}\n"))
        assert "the key 'pipeline' appears twice" in message

    def test_repeated_nested_key_is_refused(self, write: Write) -> None:
        """A repeated key is refused at any depth."""
        assert "the key 'path' appears twice" in refusal(write("data_lake:\n  path: a\n  path: b\n"))

    def test_template_that_was_not_filled_in_is_refused(self, write: Write) -> None:
        """An unfilled template is refused: `{{ … }}` is a mapping used as a key."""
        assert "is not valid YAML" in refusal(write("data_lake:\n  gcs_bucket: {{ bucket }}\n"))

    def test_merged_mappings_are_read(self, write: Write) -> None:
        """`<<` merges the keys of an anchor, which may be overridden."""
        text = changed().replace("kubernetes:\n", "kubernetes:\n  <<: {namespace: merged, helm_chart: merged}\n")
        config = load(write(text))
        assert config.kubernetes.namespace == "data-pipeline"

    def test_bytes_that_are_not_text(self, tmp_path: Path) -> None:
        """The message about a file in another encoding says so."""
        path = tmp_path / "config.yaml"
        path.write_bytes("pipeline: caf\u00e9".encode("latin-1"))
        assert "not UTF-8 text" in refusal(path)


class TestKeys:
    """Which keys are allowed."""

    @pytest.mark.parametrize(
        ("path", "near"),
        [
            ("data_lake__qurantine", "did you mean 'quarantine'?"),
            ("data_warehouse__postgres__shema", "did you mean 'schema'?"),
            ("ingestion__validation__min_prise", "did you mean 'min_price'?"),
            ("data_mart__datset", "did you mean 'dataset'?"),
            ("securty", "did you mean 'security'?"),
        ],
    )
    def test_typo_gets_the_nearest_key(self, write: Write, path: str, near: str) -> None:
        """A typo gets the nearest key, at any depth and in optional sections too."""
        message = refusal(write(changed(**{path: "x"})))
        assert f"{path.replace('__', '.')} is not a known key; {near}" in message

    def test_unknown_key_gets_the_known_ones(self, write: Write) -> None:
        """An unknown key that resembles no other gets the list of its section's keys."""
        message = refusal(write(changed(data_mart__zzz=1)))
        assert "data_mart.zzz is not a known key; known keys here: dataset, table" in message

    @pytest.mark.parametrize(
        ("path", "variable"),
        [
            ("data_warehouse__postgres__password", "TXN_PG_PASSWORD"),
            ("data_warehouse__postgres__PASSWORD", "TXN_PG_PASSWORD"),
            ("security__hash__key", "TXN_HASH_KEY"),
            ("security__hash__previous__key", "TXN_HASH_KEY_PREVIOUS"),
            ("security__jwt_secret", "TXN_JWT_SECRET"),
        ],
    )
    def test_literal_secret_is_refused(self, write: Write, path: str, variable: str) -> None:
        """A literal secret is refused with the variable to use instead, without repeating the secret."""
        message = refusal(write(changed(**{path: "hunter2"})))
        assert f"is a secret. Set it with the environment variable {variable} instead" in message
        assert "hunter2" not in message

    @pytest.mark.parametrize("url", ["issuer.example.com", "file:///etc/passwd", "https://", "https://i.example/?a=b"])
    def test_issuer_is_an_address(self, write: Write, url: str) -> None:
        """The issuer of tokens is an HTTP address without a query."""
        assert "security.oauth2.issuer" in refusal(write(changed(security__oauth2__issuer=url)))

    def test_keys_need_an_issuer(self, write: Write) -> None:
        """An address of keys alone would accept tokens of any issuer."""
        message = refusal(write(changed(security__oauth2__jwks_url="https://issuer.example.com/keys")))
        assert "security.oauth2.jwks_url needs security.oauth2.issuer" in message

    def test_landing_retention_names_its_archive(self, write: Write) -> None:
        """Landed objects are not removed without saying where to, and not moved to where they are."""
        message = refusal(write(changed(retention__landing_days=90)))
        assert "retention.landing_days needs retention.archive_bucket" in message
        assert "to delete them instead, set retention.landing: delete" in message
        assert load_config(write(changed(retention__landing_days=90, retention__landing="delete")))
        own = SHARED["data_lake"]["gcs_bucket"]
        message = refusal(write(changed(retention__archive_bucket=own)))
        assert "retention.archive_bucket is the bucket of the landing zone" in message

    @pytest.mark.parametrize(
        ("expected", "days"), [({"every": "7d"}, 7), ({"every": "36h"}, 2), ({"every": "1d", "by": "06:00"}, 3)]
    )
    def test_landing_retention_keeps_expected_files(self, write: Write, expected: dict[str, str], days: int) -> None:
        """Files stay in the landing zone as long as the check `file_expected` looks for them."""

        def with_days(landing_days: int) -> Path:
            keys = {"retention__landing_days": landing_days, "retention__landing": "delete"}
            return write(changed(orchestration__expected=expected, **keys))

        message = refusal(with_days(days - 1))
        assert f"orchestration.expected looks for files of the last {days} days: set it to {days} or more" in message
        assert load_config(with_days(days))

    def test_address_with_a_password_is_not_repeated(self, write: Write) -> None:
        """A URL in place of a section is refused without repeating its password."""
        message = refusal(write(changed(data_warehouse__postgres="postgresql://user:hunter2@host/db")))
        assert "data_warehouse.postgres" in message
        assert "hunter2" not in message

    def test_missing_keys_are_named(self, write: Write) -> None:
        """Missing keys are named, and so are missing sections."""
        content = {name: section for name, section in SHARED.items() if name != "data_lake"}
        assert "data_lake is missing" in refusal(write(yaml.safe_dump(content)))

    def test_wrong_value_is_shown(self, write: Write) -> None:
        """A wrong value is shown with what it should be."""
        message = refusal(write(changed(data_lake__format="xml")))
        assert "data_lake.format: input should be 'csv' or 'parquet', not 'xml'" in message

    def test_all_faults_are_in_one_message(self, write: Write) -> None:
        """All faults are in one message, so that one round of fixes is enough."""
        message = refusal(
            write(
                changed(
                    data_lake__fromat="csv",
                    ingestion__batch_size=0,
                    data_warehouse__postgres__password="hunter2",
                    security__pii_fields=["price"],
                    ingestion__validation__required_fields=[],
                )
            )
        )
        for part in (
            "data_lake.fromat", "ingestion.batch_size", "TXN_PG_PASSWORD", "security.pii_fields: price",
            "required_fields is empty",
        ):  # fmt: skip
            assert part in message

    @pytest.mark.parametrize(
        ("keys", "inner", "outer"),
        [
            ({"data_lake__landing": "raw"}, "path", "landing"),
            ({"data_lake__path": "landing/transactions/raw"}, "path", "landing"),
            ({"data_lake__quarantine": "raw/transactions"}, "quarantine", "path"),
            ({"data_lake__landing": "staging/transactions"}, "staging", "landing"),
        ],
    )
    def test_overlapping_prefixes_are_refused(self, write: Write, keys: dict[str, str], inner: str, outer: str) -> None:
        """Overlapping prefixes are refused, because the platform would read its own output."""
        message = refusal(write(changed(**keys)))
        assert f"data_lake.{inner} is inside data_lake.{outer}" in message

    def test_prefixes_with_a_common_start_are_separate(self, write: Write) -> None:
        """Prefixes that only share leading characters are allowed: `raw` is not a folder of `raw-2`."""
        assert load(write(changed(data_lake__landing="raw/transactions-in"))).data_lake.landing == "raw/transactions-in"

    @pytest.mark.parametrize("name", ["price", "quantity", "date", "customer"])
    def test_pii_fields_are_text(self, write: Write, name: str) -> None:
        """PII fields must be text, because a hash does not fit into a number or a date."""
        message = refusal(write(changed(security__pii_fields=["transaction_id", name])))
        assert f"security.pii_fields: {name} cannot be hashed, only transaction_id, product can" in message

    @pytest.mark.parametrize(("letters", "accepted"), [(54, True), (55, False)])
    def test_postgres_table_leaves_room_for_the_names_made_of_it(
        self, write: Write, letters: int, accepted: bool
    ) -> None:
        """PostgreSQL truncates names at 63 bytes, so the table's name must leave room for `<table>_erasures`."""
        path = write(changed(data_warehouse__postgres={"table": "t" * letters}))
        if accepted:
            assert load(path).data_warehouse.postgres.table == "t" * letters
        else:
            assert "data_warehouse.postgres.table" in refusal(path)

    @pytest.mark.parametrize("schedule", ["daily", "0 0 * *", "0 0 * * * *"])
    def test_schedule_is_a_cron_line(self, write: Write, schedule: str) -> None:
        """A schedule is a cron expression with five fields."""
        assert "orchestration.schedule" in refusal(write(changed(orchestration__schedule=schedule)))

    @pytest.mark.parametrize("ratio", [-0.1, 1.1])
    def test_ratio_is_a_share(self, write: Write, ratio: float) -> None:
        """A ratio lies between 0 and 1."""
        assert "ingestion.max_invalid_ratio" in refusal(write(changed(ingestion__max_invalid_ratio=ratio)))

    def test_small_numbers_keep_their_decimal_value(self, write: Write) -> None:
        """0.1 means exactly a tenth, although YAML reads it as a binary float."""
        config = load(write(changed(ingestion__validation__min_price=0.1)))
        assert config.ingestion.validation.min_price == Decimal("0.1")

    def test_bounds_of_dates_are_days(self, write: Write) -> None:
        """Date bounds are days, both as YAML parses them and as the run gets them, in JSON."""
        config = load(write(changed(ingestion__validation__min_date=dt.date(2020, 1, 1))))
        assert PipelineConfig.model_validate_json(config.model_dump_json(by_alias=True)) == config
        assert (config.ingestion.validation.min_date, config.ingestion.validation.max_date) == (
            dt.date(2020, 1, 1),
            None,
        )

    def test_bounds_in_the_wrong_order_are_refused(self, write: Write) -> None:
        """Bounds in the wrong order are refused, because they would reject every row."""
        assert "ingestion.validation.max_date is before min_date" in refusal(
            write(changed(ingestion__validation__max_date="1969-12-31"))
        )


class TestFormat:
    """The form of the files."""

    @pytest.mark.parametrize(
        "settings",
        [
            {"delimiter": ";", "decimal": ",", "columns": {"Preis": "price"}, "dates": ["%d.%m.%Y"], "nulls": ["NULL"]},
            {"header": "none", "columns": list(CONTRACT.names[::-1]), "encoding": "utf-16", "quote": None},
        ],
    )
    def test_form_reaches_the_run(self, write: Write, settings: dict[str, Any]) -> None:
        """The form is the same in YAML and in the JSON that a run gets."""
        config = load(write(changed(ingestion__format=settings)))
        assert PipelineConfig.model_validate_json(config.model_dump_json(by_alias=True)) == config
        assert config.ingestion.format == FileFormat.model_validate(settings)

    def test_unknown_field_is_refused(self, write: Write) -> None:
        """A header name that is mapped to no field of the feed is refused."""
        message = refusal(write(changed(ingestion__format={"columns": {"Preis": "prize"}})))
        assert "ingestion.format.columns names the unknown field 'prize': fields are transaction_id" in message

    def test_missing_position_is_refused(self, write: Write) -> None:
        """Positions that lack a field of the feed are refused, in any feed."""
        form = {"header": "none", "columns": ["refund_id"]}
        assert "ingestion.format.columns lacks the field transaction_id" in refusal(
            write(changed(ingestion__format=form))
        )
        assert "feeds.refunds: format.columns lacks the field transaction_id" in refusal(
            write(changed(feeds={"refunds": {"format": form}}))
        )

    def test_contradiction_is_refused(self, write: Write) -> None:
        """A form in which a value could mean two things is refused."""
        assert "a number could mean two things" in refusal(
            write(changed(ingestion__format={"decimal": ",", "thousands": ","}))
        )


class TestEnvironment:
    """What the environment selects."""

    def test_target_is_local_by_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The target is local by default, so that nobody loads production by accident."""
        monkeypatch.delenv("TXN_TARGET", raising=False)
        assert txn_target() == "local"

    def test_unknown_target_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unknown target is refused with the list of valid targets."""
        monkeypatch.setenv("TXN_TARGET", "prod")
        with pytest.raises(ConfigError, match=r"TXN_TARGET is 'prod': set it to 'local' .* or 'gcp'"):
            txn_target()

    def test_unknown_executor_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unknown executor is refused with the list of valid executors."""
        monkeypatch.setenv("TXN_EXECUTOR", "celery")
        with pytest.raises(ConfigError, match=r"TXN_EXECUTOR is 'celery': set it to 'threads' .* or 'in_process'"):
            txn_executor()

    def test_home_is_in_the_project_by_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The home is the project's own by default, whatever the working directory is."""
        monkeypatch.delenv("TXN_HOME", raising=False)
        assert txn_home() == project_root() / ".local"

    def test_home_may_be_relative(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A relative home is relative to the working directory, as for any program."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TXN_HOME", "there")
        assert txn_home() == tmp_path / "there"

    @pytest.mark.parametrize(("text", "size"), [("8Gi", 8 << 30), ("", None)])
    def test_scratch_limit(self, monkeypatch: pytest.MonkeyPatch, text: str, size: int | None) -> None:
        """There is no scratch limit unless it is set."""
        monkeypatch.setenv("TXN_SCRATCH_LIMIT", text)
        assert scratch_limit() == size

    def test_scratch_limit_that_is_not_a_size_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An invalid scratch limit is refused with an example of a valid one."""
        monkeypatch.setenv("TXN_SCRATCH_LIMIT", "8GB")
        with pytest.raises(ConfigError, match=r"TXN_SCRATCH_LIMIT is '8GB': set it to .* such as 8Gi"):
            scratch_limit()

    @pytest.mark.parametrize(("text", "runs"), [("4", 4), ("", 2)])
    def test_local_runs(self, monkeypatch: pytest.MonkeyPatch, text: str, runs: int) -> None:
        """Two runs of the local instance are in progress at once, unless it is set."""
        monkeypatch.setenv("TXN_LOCAL_RUNS", text)
        assert local_runs() == runs

    @pytest.mark.parametrize("text", ["0", "-1", "many"])
    def test_local_runs_that_are_no_number_are_refused(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """An invalid number of runs is refused with an example of a valid one."""
        monkeypatch.setenv("TXN_LOCAL_RUNS", text)
        with pytest.raises(ConfigError, match=f"TXN_LOCAL_RUNS is '{text}': set it to .* such as 4"):
            local_runs()
