"""Feeds in the configuration: what a section becomes, and what is refused before anything runs."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from txn_assets.config import PipelineConfig, load_config
from txn_assets.environment import ConfigError, project_root
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.feed import Feed
from txn_assets.feeds.refund import Refund
from txn_assets.rows.contract import RowContract
from txn_assets.rows.kinds import DecimalKind, EnumerationKind, MoneyKind, TimestampKind

SHARED = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text(encoding="utf-8"))

REFUND_FIELDS = {
    "refund_id": {"kind": "identifier", "pii": True, "row_id": True},
    "transaction_id": {"kind": "identifier", "pii": True},
    "reason": {"kind": "enumeration", "values": ["damaged", "late", "not_as_described", "other"]},
    "amount": {"kind": "money", "scale": 2},
    "refunded_at": {"kind": "timestamp", "partition_key": True},
    "partial": {"kind": "boolean", "required": False},
}


def feeds(tmp_path: Path, **sections: Any) -> tuple[Feed, ...]:
    """Return the feeds of the shared configuration with `sections` below `feeds`."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(SHARED | {"feeds": sections}, sort_keys=False), encoding="utf-8")
    return feeds_of(load_config(path))


def refusal(tmp_path: Path, **sections: Any) -> str:
    """Return the message about feeds that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        feeds(tmp_path, **sections)
    return str(caught.value)


def test_shared_file_has_one_feed() -> None:
    """The configuration that people have is one feed, with the names that it always had."""
    (feed,) = feeds_of(load_config(project_root() / "data" / "pipeline_config.yaml"))
    assert (feed.name, feed.prefix, feed.landing, feed.path) == (
        "transactions", "", "landing/transactions", "raw/transactions",
    )  # fmt: skip
    assert (feed.bigquery_table, feed.postgres_table) == ("raw_transactions", "transactions")
    assert feed.contract.pii_fields == ("transaction_id",)


def test_configuration_that_was_passed_on_as_json(tmp_path: Path) -> None:
    """A run gets its configuration as JSON, and has the same feeds, also with a day that YAML reads as a date."""
    path = tmp_path / "config.yaml"
    since = dt.date(2020, 1, 1)
    sections = {
        "refunds": {"rules": {"refunded_at": {"min": since}, "amount": {"max": 0.5}}},
        "orders": {"fields": {"ordered_on": {"kind": "date", "min": since}}},
    }
    path.write_text(yaml.safe_dump(SHARED | {"feeds": sections}), encoding="utf-8")
    config = load_config(path)

    passed_on = PipelineConfig.model_validate_json(config.model_dump_json(by_alias=True))

    assert passed_on == config
    assert all(ours is theirs for ours, theirs in zip(feeds_of(config), feeds_of(passed_on), strict=True))


def test_shipped_model_needs_no_settings(tmp_path: Path) -> None:
    """An empty section is enough for a model that the platform ships; names follow from the feed's name."""
    _, feed = feeds(tmp_path, refunds={})
    assert feed.contract.source is Refund
    assert (feed.prefix, feed.landing, feed.path, feed.quarantine, feed.staging) == (
        "refunds", "landing/refunds", "raw/refunds", "quarantine/refunds", "staging/refunds",
    )  # fmt: skip
    assert (feed.bigquery_table, feed.postgres_table) == ("raw_refunds", "refunds")
    assert feed.pii_fields == ("refund_id", "transaction_id")


def test_yaml_fields_give_what_a_model_gives(tmp_path: Path) -> None:
    """A feed described in YAML alone has the same columns, marks and rules as one with a model."""
    _, by_model, by_yaml = feeds(tmp_path, refunds={}, returns={"fields": REFUND_FIELDS})
    assert by_yaml.contract.columns == by_model.contract.columns
    assert by_yaml.rules_id == by_model.rules_id


def test_model_of_the_user(tmp_path: Path) -> None:
    """A model is named by its module and class."""
    _, feed = feeds(tmp_path, returns={"model": "txn_assets.feeds.refund:Refund", "table": "returned"})
    assert (feed.contract.source, feed.bigquery_table) == (Refund, "returned")


def test_rules_narrow_fields(tmp_path: Path) -> None:
    """Rules narrow fields of any kind, and required fields can be changed."""
    rules = {"amount": {"min": 0.01, "max": "100.00"}, "refunded_at": {"min": "2020-01-01"}}
    _, feed = feeds(tmp_path, refunds={"rules": rules, "required_fields": ["refund_id", "amount"]})
    amount, moment = feed.contract.kinds["amount"], feed.contract.kinds["refunded_at"]
    assert isinstance(amount, MoneyKind)
    assert isinstance(moment, TimestampKind)
    assert (amount.minimum, amount.maximum) == (Decimal("0.01"), Decimal("100.00"))
    assert moment.first == dt.date(2020, 1, 1)
    assert feed.contract.required == {"refund_id", "amount"}


@pytest.mark.parametrize(
    "section",
    [
        {"rules": {"amount": {"min": 1}}},
        {"required_fields": ["refund_id"]},
        {"pii_fields": ["refund_id"]},
        {"fields": REFUND_FIELDS | {"note": {"kind": "text", "required": False}}},
        {"fields": REFUND_FIELDS | {"amount": {"kind": "money", "scale": 3}}},
        {"format": {"decimal": ","}},
    ],
    ids=["rule", "required", "pii", "column", "kind", "format"],
)
def test_rules_id_differs_where_rows_may_differ(tmp_path: Path, section: dict[str, Any]) -> None:
    """A changed rule, column or hash gives another id, so that the stores load their files again."""
    (_, plain), (_, changed) = feeds(tmp_path, refunds={}), feeds(tmp_path, refunds=section)
    assert plain.rules_id != changed.rules_id


def test_rules_id_does_not_depend_on_spelling(tmp_path: Path) -> None:
    """The same rule in another spelling gives the same id."""
    one, other = ({"rules": {"amount": {"min": spelled}}} for spelled in ("1", 1.00))
    assert feeds(tmp_path, refunds=one)[1].rules_id == feeds(tmp_path, refunds=other)[1].rules_id


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"transactions": {}}, "feeds.transactions: the sections data_lake, data_warehouse and ingestion configure"),
        ({"orders": {}}, "feeds.orders: the feed needs `model` (module:Class) or `fields`"),
        ({"orders": {"model": "nowhere:Order"}}, "there is no model 'nowhere:Order' (No module named 'nowhere')"),
        ({"orders": {"model": "txn_assets.sections.storage:Postgres"}}, "is not a row model: derive it from"),
        ({"orders": {"model": "a:B", "fields": {}}}, "feeds.orders: give `model` or `fields`, not both"),
        ({"orders": {"fields": {"id": {"kind": "number"}}}}, "feeds.orders: id: 'number' is not a kind of values"),
        ({"orders": {"fields": {"id": {"kind": "enumeration"}}}}, "id: the kind enumeration takes `values`"),
        ({"orders": {"fields": {"id": {"kind": "text", "scale": 2}}}}, "id: the kind text takes other settings"),
        ({"orders": {"fields": {"Id": {"kind": "text"}}}}, "feeds.orders: 'Id' cannot be the name of a field"),
        ({"orders": {"fields": {"_id": {"kind": "text"}}}}, "feeds.orders: '_id' cannot be the name of a field"),
        ({"orders": {"fields": {"model_config": {"kind": "text"}}}}, "because it has a meaning in Pydantic: rename it"),
        ({"orders": {"fields": {"id": {"kind": "text", "min": 2}}}}, "'min' is not a rule for text (its rules:"),
        ({"orders": {"fields": {"n": {"kind": "whole", "pii": True}}}}, "feeds.orders: n cannot be hashed"),
        ({"refunds": {"rules": {"amout": {"min": 1}}}}, "feeds.refunds: 'amout' is not a field of Refund; its"),
        ({"refunds": {"rules": {"amount": {"min": "much"}}}}, "feeds.refunds: amount: min is not a number"),
        ({"refunds": {"rules": {"amount": {"min": "NaN"}}}}, "feeds.refunds: amount: min is not a number"),
        ({"refunds": {"rules": {"amount": {"min": "1e-25"}}}}, "amount: the bound 1E-25 has too many digits"),
        ({"refunds": {"rules": {"amount": {"max_decimals": 3}}}}, "amount: max_decimals is 3, but columns keep 2"),
        ({"refunds": {"rules": {"amount": {"max": -1}}}}, "amount: the largest value, -1, is below the smallest, 0"),
        ({"refunds": {"rules": {"refunded_at": {"min": "soon"}}}}, "refunded_at: min is not a day in the form"),
        ({"refunds": {"required_fields": []}}, "feeds.refunds: Refund has no required field: a row needs at least one"),
        ({"refunds": {"pii_fields": ["amount"]}}, "feeds.refunds: amount cannot be hashed, only refund_id"),
        ({"refunds": {"landing": "landing/transactions/x"}}, "feeds.refunds.landing is inside data_lake.landing"),
        ({"refunds": {"table": "raw_transactions"}}, "feeds.refunds.table and data_warehouse.table share the table"),
        ({"refunds": {"postgres_table": "transactions_loads"}}, "data_warehouse.postgres.table share the table"),
        ({"refunds": {"postgres_table": "transactions_rejects"}}, "data_warehouse.postgres.table share the table"),
        ({"refunds": {"table": "file_status"}}, "feeds.refunds.table and the view file_status share the table"),
        ({"refunds": {"tabel": "x"}}, "feeds.refunds.tabel is not a known key; did you mean 'table'?"),
        ({"Refunds": {}}, "feeds.Refunds"),
    ],
)  # fmt: skip
def test_feed_that_cannot_be_used_is_refused(tmp_path: Path, sections: dict[str, Any], sentence: str) -> None:
    """A feed that cannot be used is refused with a sentence that names the feed, the field and the remedy."""
    assert sentence in refusal(tmp_path, **sections)


def test_kinds_in_yaml_have_their_options(tmp_path: Path) -> None:
    """The options of a kind are keys of its field."""
    fields = {
        "id": {"kind": "text", "row_id": True, "description": "The id."},
        "rate": {"kind": "decimal", "scale": 6, "whole_digits": 3, "min": -1},
        "state": {"kind": "enumeration", "values": ["on", "off"]},
    }
    _, feed = feeds(tmp_path, rates={"fields": fields})
    assert feed.contract.kinds["rate"] == DecimalKind(whole_digits=3, scale=6, minimum=Decimal(-1))
    assert feed.contract.kinds["state"] == EnumerationKind(("on", "off"))
    assert feed.contract.columns[0].description == "The id."


def test_refund_is_short() -> None:
    """The definition of the second feed is an example, so it stays below 30 lines."""
    assert len((project_root() / "txn_assets" / "feeds" / "refund.py").read_text().splitlines()) < 30
    assert RowContract.of(Refund).row_id == "refund_id"


@pytest.mark.parametrize(
    ("code", "fault"), [("class Order(", "SyntaxError: "), ("1 / 0", "ZeroDivisionError: division by zero")]
)
def test_model_in_a_broken_module_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, fault: str
) -> None:
    """A module that cannot be imported is refused with what is wrong with it, instead of a traceback."""
    name = f"broken_{len(code)}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    message = refusal(tmp_path, orders={"model": f"{name}:Order"})
    assert f"feeds.orders: the module of the model '{name}:Order' cannot be imported ({fault}" in message
