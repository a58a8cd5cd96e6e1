"""Feeds described in `own_defs/` are read without Dagster, by the same rules as with it."""

from pathlib import Path

import pytest

from txn_assets.environment import ConfigError
from txn_assets.feeds.own_defs import read_sections


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
