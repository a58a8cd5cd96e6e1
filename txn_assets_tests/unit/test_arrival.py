"""What the sensor requests: a table of cases, and that nothing is lost or asked twice."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from txn_assets.arrival import (
    BATCH_BYTES,
    BATCH_FILES,
    FEW_FILES,
    LOOKBACK,
    RANGE_TAGS,
    SMALL_BYTES,
    Cursor,
    Selection,
    batches,
    names_in_runs,
    select,
)
from txn_assets.ledger import FileVersion

NOW = 1_800_000_000_000_000


def make_version(name: str = "a.csv", generation: int = NOW, size: int = 100) -> FileVersion:
    return FileVersion(name, generation, size, "AAAAAA==")


def _after(looks: int) -> Callable[[], bool]:
    left = iter(range(looks))
    return lambda: next(left, None) is None


def _requested(selection: Selection) -> list[str]:
    return [str(version) for version in selection.requested]


@pytest.mark.parametrize(
    ("name", "size"),
    [("folder/", 0), ("a.csv", 0), ("a.csv.tmp", 5), ("a.csv.part", 5), ("_a.csv", 5), ("x/.a.csv", 5), ("a.txt", 5)],
)
def test_left_alone(name: str, size: int) -> None:
    """Folder markers, empty, unfinished and other objects are never requested."""
    assert select([make_version(name, size=size)], Cursor(), limit=10).requested == ()


@pytest.mark.parametrize("name", ["a b.csv", "المعاملات.csv", "a#1.csv", "100%.csv", "2026/11/23.csv", "a.csv.gz"])
def test_odd_names_are_requested(name: str) -> None:
    """Blanks, any script, '#', '%' and folders make good keys."""
    assert _requested(select([make_version(name)], Cursor(), limit=10)) == [f"{name}@{NOW}"]


@pytest.mark.parametrize("name", ["a...b.csv", "a\nb.csv", "a\tb.csv"])
def test_unfit_names_are_reported_once(name: str) -> None:
    """What Dagster cannot hold as a key is reported at the first tick and not again."""
    first = select([make_version(name)], Cursor(), limit=10)
    second = select([make_version(name)], first.cursor, limit=10)

    assert (first.requested, first.unfit, second.unfit) == ((), (name,), ())


def test_overwritten() -> None:
    """A new generation of a known name is requested."""
    first = select([make_version()], Cursor(), limit=10)

    second = select([make_version(generation=NOW + 1)], first.cursor, limit=10)

    assert _requested(second) == [f"a.csv@{NOW + 1}"]


def test_deleted_files_do_not_matter() -> None:
    """When the newest object is gone, nothing older is asked again."""
    versions = [make_version(f"{n}.csv", NOW + n) for n in range(5)]
    first = select(versions, Cursor(), limit=10)

    assert select(versions[:-1], first.cursor, limit=10).requested == ()


def test_equal_stamps() -> None:
    """Objects of one generation stamp are each requested, also when the limit parts them."""
    versions = [make_version(f"{n}.csv") for n in range(5)]
    first = select(versions, Cursor(), limit=3)
    second = select(versions, first.cursor, limit=3)

    assert sorted(_requested(first) + _requested(second)) == sorted(map(str, versions))


def test_late_arrival() -> None:
    """An object that shows up with a stamp before the newest one is requested, within the lookback."""
    first = select([make_version("b.csv")], Cursor(), limit=10)
    late = make_version("a.csv", NOW - LOOKBACK + 1)

    assert _requested(select([late, make_version("b.csv")], first.cursor, limit=10)) == [str(late)]


@pytest.mark.parametrize("text", [None, "", "{}", "not json", '{"version": 99}', '{"version": 1, "mark": "x"}', "[]"])
def test_unreadable_cursor(text: str | None) -> None:
    """A missing, damaged or older cursor starts afresh."""
    assert Cursor.parse(text) == Cursor()


def test_oldest_first() -> None:
    """Under a limit the oldest go first, and the rest is counted as waiting."""
    versions = [make_version(f"{n}.csv", NOW + n) for n in range(10)]
    random.Random(1).shuffle(versions)

    selection = select(versions, Cursor(), limit=4)

    assert _requested(selection) == [f"{n}.csv@{NOW + n}" for n in range(4)]
    assert selection.waiting == 6


@settings(max_examples=150, deadline=None)
@given(
    arrivals=st.lists(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3 * LOOKBACK)), max_size=6), max_size=8),
    limit=st.integers(1, 4),
)
def test_each_version_once(arrivals: list[list[tuple[int, int]]], limit: int) -> None:
    """Whatever lands between ticks in order, every last version is requested, and no version twice."""
    bucket: dict[str, FileVersion] = {}
    clock, cursor, requested = NOW, Cursor(), []
    ticks: list[list[tuple[int, int]]] = [*arrivals, *([[]] * 60)]
    for tick in ticks:
        for name, pause in tick:
            clock += pause + 1
            bucket[f"{name}.csv"] = make_version(f"{name}.csv", clock)
        selection = select(bucket.values(), Cursor.parse(cursor.text()), limit=limit)
        cursor = selection.cursor
        requested += _requested(selection)

    assert len(requested) == len(set(requested))
    assert {str(version) for version in bucket.values()} <= set(requested)


@settings(max_examples=150, deadline=None)
@given(
    arrivals=st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(0, LOOKBACK)), max_size=6), max_size=8),
    limit=st.integers(1, 4),
    patience=st.integers(2, 6),
)
def test_tick_that_runs_out_of_time_loses_nothing(
    arrivals: list[list[tuple[int, int]]], limit: int, patience: int
) -> None:
    """Where each tick lists a few names only, every last version is requested all the same, and none twice."""
    bucket: dict[str, FileVersion] = {}
    clock, cursor, requested = NOW, Cursor(), []
    ticks: list[list[tuple[int, int]]] = [*arrivals, *([[]] * 80)]
    for tick in ticks:
        for name, pause in tick:
            clock += pause // 100 + 1
            bucket[f"{name:02d}.csv"] = make_version(f"{name:02d}.csv", clock)
        listed = (bucket[name] for name in sorted(bucket) if name >= cursor.start(""))
        selection = select(listed, cursor, limit=limit, out_of_time=_after(patience))
        cursor = Cursor.parse(selection.cursor.text())
        requested += _requested(selection)

    assert len(requested) == len(set(requested))
    assert {str(version) for version in bucket.values()} <= set(requested)


def test_fresh_cursor_asks_the_ledgers() -> None:
    """What every store holds is known, although the cursor is not."""
    held, new = make_version("a.csv"), make_version("b.csv")

    selection = select([held, new], Cursor(), limit=10, is_held=lambda version: version == held)

    assert _requested(selection) == [str(new)]
    assert select([held, new], selection.cursor, limit=10).requested == ()


def test_dated_names_are_listed_from_the_first_that_can_be_new() -> None:
    """Once all that waited is requested; before, and with a fresh cursor, from the head."""
    versions = [make_version(f"2026/11/2{n}.csv", NOW + n) for n in range(4)]
    first = select(versions, Cursor(), limit=3)
    second = select(versions, first.cursor, limit=3)

    starts = [cursor.start("2026/11/22") for cursor in (Cursor(), first.cursor, second.cursor)]
    assert starts == ["", "", "2026/11/22"]


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        ({"dagster/partition": "b.csv"}, {"b.csv"}),
        ({RANGE_TAGS[0]: "b.csv", RANGE_TAGS[1]: "d.csv"}, {"b.csv", "c.csv", "d.csv"}),
        ({"dagster/partition": "gone.csv"}, set()),
        ({}, set()),
    ],
    ids=["one file", "a range", "a key that was removed", "no file"],
)
def test_files_of_a_run(tags: dict[str, str], names: set[str]) -> None:
    """A run says by its tags which files it loads, and a sweep leaves those of queued runs alone."""
    assert names_in_runs([tags], ["a.csv", "b.csv", "c.csv", "d.csv"]) == names


class TestBatches:
    """Which files share a run."""

    def test_few_files_have_runs_of_their_own(self) -> None:
        """Up to five, each under its own name."""
        versions = [make_version(f"{n}.csv") for n in range(FEW_FILES)]

        assert list(batches(versions, [v.name for v in versions])) == [(v,) for v in versions]

    def test_many_small_files_share(self) -> None:
        """In the order of their keys, up to the limits of a batch."""
        versions = [make_version(f"{n}.csv") for n in range(BATCH_FILES + 20)]

        first, second = batches(versions, [v.name for v in versions])

        assert [*first, *second] == versions
        assert len(first) == BATCH_FILES

    def test_large_file_is_alone(self) -> None:
        """It takes its own time, and its own memory."""
        small = [make_version(f"{n}.csv") for n in range(20)]
        large = make_version("large.csv", size=SMALL_BYTES)

        assert set(batches([*small, large], [*(v.name for v in small), "large.csv"])) == {(large,), tuple(small)}

    def test_bytes_are_bounded(self) -> None:
        """Files just below the limit of a small one share a run with few others."""
        versions = [make_version(f"{n}.csv", size=SMALL_BYTES - 1) for n in range(100)]

        sizes = [sum(v.size for v in batch) for batch in batches(versions, [v.name for v in versions])]

        assert max(sizes) <= BATCH_BYTES

    @settings(max_examples=100, deadline=None)
    @given(chosen=st.sets(st.integers(0, 60)), seed=st.integers(0, 9))
    def test_batch_is_a_range_of_keys(self, chosen: set[int], seed: int) -> None:
        """Every version is in one batch, and a batch holds all keys from its first to its last."""
        keys = [f"{n}.csv" for n in range(61)]
        random.Random(seed).shuffle(keys)
        versions = [make_version(f"{n}.csv") for n in chosen]

        found = list(batches(versions, keys))

        assert sorted(v.name for batch in found for v in batch) == sorted(v.name for v in versions)
        for batch in found:
            first, last = keys.index(batch[0].name), keys.index(batch[-1].name)
            assert keys[first : last + 1] == [v.name for v in batch]
