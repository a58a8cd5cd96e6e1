"""How far a rotation is, and which files it takes next: pure decisions over any ledgers."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from txn_assets.feeds.feed import Feed
from txn_assets.files.file_status import RunState
from txn_assets.files.ledger import FileVersion
from txn_assets.files.ledgers import HeldVersion, Ledgers
from txn_assets.files.rotation import UNKNOWN, KeyUse, find_rotation
from txn_assets.runs.dagster_client import RUNS_PER_QUESTION, DagsterClient
from txn_assets.runs.replay import Choice, choose_rotated

NAMES = st.sampled_from([f"{letter}.csv" for letter in "abcde"])
HELD = st.builds(
    HeldVersion, st.integers(1, 3), st.just("rules"), st.sampled_from(["k2", "k1", "k0", ""]), st.integers(0, 9)
)
LEDGERS = st.fixed_dictionaries({label: st.dictionaries(NAMES, HELD) for label in ("A", "B")}).map(Ledgers)
LANDED = st.dictionaries(NAMES, st.integers(1, 3)).map(
    lambda generations: [FileVersion(name, generation, 1, "") for name, generation in generations.items()]
)


@given(LANDED, LEDGERS)
def test_every_held_file_is_counted_once(landed: list[FileVersion], ledgers: Ledgers) -> None:
    """Files and rows of a store add up over the keys, and the current key is always among them."""
    rotation = find_rotation(landed, ledgers, current="k2")

    for label, versions in ledgers.versions.items():
        uses = rotation.stores[label]
        assert sum(use.files for use in uses.values()) == len(versions)
        assert sum(use.rows for use in uses.values()) == sum(held.rows for held in versions.values())
        under = [held for held in versions.values() if held.key_id == "k2"]
        assert uses["k2"] == KeyUse(len(under), sum(held.rows for held in under))


@given(LANDED, LEDGERS)
def test_each_old_file_has_one_way_out(landed: list[FileVersion], ledgers: Ledgers) -> None:
    """A file under another key is loaded again, waits for its load, or is gone; the first ones come oldest first."""
    rotation = find_rotation(landed, ledgers, current="k2")
    old: dict[str, set[str]] = {}
    for versions in ledgers.versions.values():
        for name, held in versions.items():
            if held.key_id != "k2":
                old.setdefault(name, set()).add(held.key_id or UNKNOWN)

    again = [version.name for version in rotation.reloadable]
    assert sorted([*again, *rotation.waiting, *rotation.gone]) == sorted(old)
    assert {name: set(keys) for name, keys in rotation.keys.items()} == old
    assert set(rotation.gone).isdisjoint(version.name for version in landed)
    assert [v.generation for v in rotation.reloadable] == sorted(v.generation for v in rotation.reloadable)
    assert bool(rotation.sentence()) == bool(old)
    assert rotation.files_under("k1") == sum("k1" in keys for keys in old.values())


@given(LANDED, LEDGERS)
def test_loading_finishes_the_rotation(landed: list[FileVersion], ledgers: Ledgers) -> None:
    """After the reloadable files are loaded under the current key, only the others are left."""
    before = find_rotation(landed, ledgers, current="k2")
    loaded = {version.name: HeldVersion(version.generation, "new rules", "k2", 1) for version in before.reloadable}

    after = find_rotation(
        landed, Ledgers({label: {**one, **loaded} for label, one in ledgers.versions.items()}), current="k2"
    )

    assert (after.reloadable, after.waiting, after.gone) == ((), before.waiting, before.gone)


@dataclass(frozen=True)
class Runs(DagsterClient):
    """A Dagster that knows the status of the newest run of some files."""

    url: str = ""
    known: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def runs_of(self, files: Sequence[tuple[Feed, str]]) -> list[RunState | None]:
        """Return the newest runs, and note which files were asked about."""
        names = [name for _, name in files]
        self.asked.extend(names)
        run = RunState("run", dt.datetime.now(dt.UTC), "SUCCESS", None, is_batch=True)
        return [replace(run, status=self.known[name]) if name in self.known else None for name in names]


def choose(dagster: Runs, count: int, limit: int) -> Choice:
    """Choose among `count` versions."""
    versions = [FileVersion(f"{number}.csv", number + 1, 1, "") for number in range(count)]
    return choose_rotated(cast("Any", SimpleNamespace(feed=None)), versions, dagster, limit)


def test_failed_files_do_not_keep_the_others_waiting() -> None:
    """Files whose newest run failed come last; those that a run is about to load are left to it."""
    dagster = Runs(known={"0.csv": "FAILURE", "1.csv": "STARTED", "2.csv": "SUCCESS"})

    chosen = choose(dagster, 5, 3)
    assert [version.name for version in chosen.versions] == ["2.csv", "3.csv", "4.csv"]
    assert [version.name for version in chosen.in_runs] == ["1.csv"]
    assert [version.name for version in choose(dagster, 5, 9).versions] == ["2.csv", "3.csv", "4.csv", "0.csv"]


def test_dagster_is_asked_about_no_more_files_than_needed() -> None:
    """Of many files, only as many are asked about as fill the limit."""
    dagster = Runs()
    assert len(choose(dagster, 5 * RUNS_PER_QUESTION, 2).versions) == 2
    assert len(dagster.asked) == RUNS_PER_QUESTION
