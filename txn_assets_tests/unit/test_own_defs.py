"""Feeds described in `own_defs/` are read without Dagster, and the component defines their assets."""

from pathlib import Path

import dagster as dg
import pytest
from pydantic import ValidationError

from txn_assets import LandedFiles
from txn_assets.definitions import defs
from txn_assets.environment import ConfigError
from txn_assets.feeds.models import FieldSection
from txn_assets.feeds.own_defs import read_sections
from txn_assets.feeds.section import FeedSection


def describe(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(text)


def test_feeds_are_named_after_their_folders(tmp_path: Path) -> None:
    """The name of a feed is that of its folder, at any depth, and other components are left alone."""
    describe(tmp_path / "refunds", "type: txn_assets.LandedFiles\n")
    describe(tmp_path / "shop" / "orders", "type: txn_assets.LandedFiles\nattributes:\n  table: shop_orders\n")
    describe(tmp_path / "shop" / "marts", "type: dagster.DefsFolderComponent\n")

    sections = {name: section for name, (_, section) in read_sections(tmp_path).items()}
    assert sections == {"refunds": {}, "orders": {"table": "shop_orders"}}


def test_feed_described_twice(tmp_path: Path) -> None:
    """Two descriptions of one feed are refused, with the second file."""
    describe(tmp_path / "a" / "refunds", "type: txn_assets.LandedFiles\n")
    describe(tmp_path / "b" / "refunds", "type: txn_assets.LandedFiles\n")

    with pytest.raises(ConfigError, match=r"b/refunds/defs\.yaml describes the feed 'refunds' a second time"):
        read_sections(tmp_path)


def test_file_that_is_not_yaml(tmp_path: Path) -> None:
    """The message names the file."""
    describe(tmp_path / "refunds", "type: [\n")

    with pytest.raises(ConfigError, match=r"refunds/defs\.yaml is not valid YAML"):
        read_sections(tmp_path)


def test_component_outside_own_defs() -> None:
    """In another project, the component adds a feed that the platform's configuration does not have."""
    fields = {
        "order_id": FieldSection(kind="identifier", row_id=True),
        "ordered_on": FieldSection(kind="date", partition_key=True),
    }
    orders = LandedFiles("orders", FeedSection(fields=fields))

    merged = dg.Definitions.merge(defs(), dg.build_defs_for_component(orders))

    keys = {key.to_user_string() for key in merged.resolve_all_asset_keys()}
    assert {"raw_csv", "orders/raw_csv", "orders/hashed_orders", "orders/gcs_raw", "orders/bigquery_raw_orders"} <= keys


def test_component_that_meets_another_feed() -> None:
    """A component may not write to the table of another feed."""
    component = LandedFiles("refunds", FeedSection(postgres_table="transactions"))

    with pytest.raises(ValidationError, match=r"feeds\.refunds\.postgres_table and .* share the table transactions"):
        dg.build_defs_for_component(component)
