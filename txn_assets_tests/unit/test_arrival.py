"""What the sensor requests: a table of cases, and that nothing is lost or requested twice."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from txn_assets.files import arrival
from txn_assets.files.arrival import (
    BATCH_BYTES,
    BATCH_FILES,
    FEW_FILES,
    LOOKBACK,
    RANGE_TAGS,
    SMALL_BYTES,
    Cursor,
    LeftAlone,
    Selection,
    batches,
    list_left_alone,
    names_in_runs,
)
from txn_assets.files.ledger import FileVersion

NOW = 1_800_000_000_000_000


def make_version(name: str = "a.csv", generation: int = NOW, size: int = 100) -> FileVersion:
    return FileVersion(name, generation, size, "AAAAAA==")


def _after(looks: int) -> Callable[[], bool]:
    left = iter(range(looks))
    return lambda: next(left, None) is None


def select(
    listed: Iterable[FileVersion], cursor: Cursor, *, now: int = NOW, first_new: str = "", **options: Any
) -> Selection:
    """Run a tick at `now`, with a cursor as Dagster returns it."""
    begun = Cursor.parse(cursor.text()).begin(now=now, first_new=first_new)
    return arrival.select((version for version in listed if version.name >= begun.start), begun, **options)


def _requested(selection: Selection) -> list[str]:
    return [str(version) for version in selection.requested]


@pytest.mark.parametrize(
    ("name", "size", "why", "is_meant"),
    [
        ("folder/", 0, "it is a folder marker", True),
        ("_a.csv", 5, "a name that begins with '.', '_', '~' is not finished", True),
        ("x/.a.csv", 5, "a name that begins with '.', '_', '~' is not finished", True),
        ("a.csv", 0, "it is empty", False),
        ("a.csv.tmp", 5, "its name does not end in .csv, .csv.gz, .tsv, .zip or .zst", False),
        ("a.txt", 5, "its name does not end in .csv, .csv.gz, .tsv, .zip or .zst", False),
        ("a...b.csv", 5, "Dagster does not allow a partition key with a line break or '...'", False),
        ("a\nb.csv", 5, "Dagster does not allow a partition key with a line break or '...'", False),
        (
            "a/../../../etc/b.csv",
            5,
            "its name has the segment '..', which tools that copy the bucket follow: land it under another name",
            False,
        ),
        ("\u202evsc.a.csv", 5, r"its name has the invisible character \u202e: land it under another name", False),
        ("a\x1b[2Jb.csv", 5, r"its name has the invisible character \u001b: land it under another name", False),
    ],
)
def test_left_alone(name: str, size: int, why: str, is_meant: bool) -> None:
    """A file that is not loaded is reported with the reason, once per version."""
    version = make_version(name, size=size)
    first = select([version], Cursor(), limit=10)
    second = select([version], first.cursor, limit=10)
    overwritten = make_version(name, NOW + 1, size=size)
    third = select([overwritten], second.cursor, limit=10)

    assert (first.requested, first.left_alone) == ((), (LeftAlone(version, why, is_meant=is_meant),))
    assert (second.requested, second.left_alone) == ((), ())
    assert third.left_alone == (LeftAlone(overwritten, why, is_meant=is_meant),)


def test_left_alone_behind_the_mark() -> None:
    """A file before the high-water mark is neither reported again nor kept in the cursor."""
    version = make_version("a.txt")
    first = select([version], Cursor(), limit=10)
    later = select([version], first.cursor, limit=10, now=NOW + 2 * LOOKBACK)

    again = select([version], later.cursor, limit=10, now=NOW + 3 * LOOKBACK)

    assert (again.left_alone, again.cursor.seen) == ((), {})


def test_many_are_left_alone() -> None:
    """A long list names the first files and counts the rest."""
    objects = [LeftAlone(make_version(f"{n}.txt"), "it is empty") for n in range(5)]

    assert list_left_alone(objects, shown=1) == "Left alone: '0.txt' (it is empty) and 4 more."


@pytest.mark.parametrize(
    "name",
    [
        *("a b.csv", "المعاملات.csv", "a#1.csv", "100%.csv", "2026/11/23.csv", "a.csv.gz"),
        *("UPPER.CSV", "X.CSV.GZ", "Mixed.Csv", "a.tsv", "Export.ZIP", "a.csv.zst"),
    ],
)
def test_odd_names_are_requested(name: str) -> None:
    """Blanks, any script, '#', '%', folders and capitals are valid in keys."""
    assert _requested(select([make_version(name)], Cursor(), limit=10)) == [f"{name}@{NOW}"]


def test_overwritten() -> None:
    """A new generation of a known name is requested."""
    first = select([make_version()], Cursor(), limit=10)

    second = select([make_version(generation=NOW + 1)], first.cursor, limit=10)

    assert _requested(second) == [f"a.csv@{NOW + 1}"]


def test_deleted_files_do_not_matter() -> None:
    """After the newest object is deleted, no older object is requested again."""
    versions = [make_version(f"{n}.csv", NOW + n) for n in range(5)]
    first = select(versions, Cursor(), limit=10)

    assert select(versions[:-1], first.cursor, limit=10).requested == ()


def test_equal_stamps() -> None:
    """Objects with the same generation stamp are each requested, even if the limit separates them."""
    versions = [make_version(f"{n}.csv") for n in range(5)]
    first = select(versions, Cursor(), limit=3)
    second = select(versions, first.cursor, limit=3)

    assert sorted(_requested(first) + _requested(second)) == sorted(map(str, versions))


def test_late_arrival() -> None:
    """An object that appears with a stamp before the newest one is requested, within the lookback."""
    first = select([make_version("b.csv")], Cursor(), limit=10)
    late = make_version("a.csv", NOW - LOOKBACK + 1)

    assert _requested(select([late, make_version("b.csv")], first.cursor, limit=10)) == [str(late)]


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "{}", "not json", "[]", "[" * 100_000),
        *(
            '{"version": 2, "mark": 1}',
            '{"version": 99}',
            '{"version": 3, "mark": "x"}',
            '{"version": 3, "mark": 1e999}',
        ),
    ],
)
def test_unreadable_cursor(text: str | None) -> None:
    """A missing, damaged or older cursor starts over."""
    assert Cursor.parse(text) == Cursor()


def test_oldest_first() -> None:
    """With a limit, the oldest files go first and the rest is counted as waiting."""
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
    """Whatever lands between ticks in order, every latest version is requested, and no version twice."""
    bucket: dict[str, FileVersion] = {}
    clock, cursor, requested = NOW, Cursor(), []
    ticks: list[list[tuple[int, int]]] = [*arrivals, *([[]] * 60)]
    for tick in ticks:
        for name, pause in tick:
            clock += pause + 1
            bucket[f"{name}.csv"] = make_version(f"{name}.csv", clock)
        selection = select(bucket.values(), cursor, now=clock, limit=limit)
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
    """If each tick lists only a few names, every latest version is still requested, and none twice."""
    bucket: dict[str, FileVersion] = {}
    clock, cursor, requested = NOW, Cursor(), []
    ticks: list[list[tuple[int, int]]] = [*arrivals, *([[]] * 80)]
    for tick in ticks:
        for name, pause in tick:
            clock += pause + 1
            bucket[f"{name:02d}.csv"] = make_version(f"{name:02d}.csv", clock)
        selection = select(
            [bucket[name] for name in sorted(bucket)], cursor, now=clock, limit=limit, out_of_time=_after(patience)
        )
        cursor = selection.cursor
        requested += _requested(selection)

    assert len(requested) == len(set(requested))
    assert {str(version) for version in bucket.values()} <= set(requested)


def test_pass_longer_than_the_lookback_loses_nothing() -> None:
    """Files that land ahead of where a tick stopped are requested, even if the next tick comes hours later."""
    old = [make_version("a.csv"), make_version("n.csv")]
    first = select(old, Cursor(), limit=10, out_of_time=_after(0))
    ahead, behind = make_version("b.csv", NOW + 1), make_version("z.csv", NOW + 2 * LOOKBACK)

    second = select([old[1], behind], first.cursor, now=NOW + 2 * LOOKBACK, limit=10)
    third = select([old[0], ahead, old[1], behind], second.cursor, now=NOW + 2 * LOOKBACK, limit=10)

    assert first.cursor.after == "n.csv"
    assert [_requested(tick) for tick in (first, second, third)] == [
        [str(old[0])],
        [str(behind), str(old[1])][::-1],
        [str(ahead)],
    ]


def test_object_at_which_a_tick_stopped_may_be_deleted() -> None:
    """If the object at which a tick stopped is deleted, the next tick continues after its name."""
    versions = [make_version(f"{n}.csv", NOW + n) for n in range(4)]
    first = select(versions, Cursor(), limit=10, out_of_time=_after(1))

    second = select(versions[3:], first.cursor, limit=10)

    assert first.cursor.after == "2.csv"
    assert _requested(first) + _requested(second) == [str(versions[0]), str(versions[1]), str(versions[3])]


def test_renamed() -> None:
    """Another name is another file, whatever its bytes; the old name's rows stay, as after a deletion."""
    first = select([make_version("a.csv")], Cursor(), limit=10)

    assert _requested(select([make_version("b.csv", NOW + 1)], first.cursor, limit=10)) == [f"b.csv@{NOW + 1}"]


def test_cursor_shrinks_when_nothing_arrives() -> None:
    """The cursor, which Dagster stores with each tick, names no object after an hour without arrivals."""
    versions = [make_version(f"{n}.csv", NOW - n) for n in range(100)]
    first = select(versions, Cursor(), limit=100)

    later = select(versions, first.cursor, now=NOW + LOOKBACK, limit=100)

    assert (len(first.cursor.seen), len(later.cursor.seen), later.requested) == (100, 0, ())


def test_lost_cursor_consults_the_ledgers_until_a_pass_is_complete() -> None:
    """After a lost cursor, the ledgers are consulted until a pass is complete, even if the pass takes several ticks."""
    versions = [make_version(f"{n}.csv", NOW + n) for n in range(6)]
    cursor, asked = Cursor(), []
    for start in (0, 2, 4):
        asked.append(cursor.is_lost)
        cursor = select(versions[start:], cursor, limit=10, is_held=lambda _: True, out_of_time=_after(1)).cursor

    assert cursor.after == ""
    assert (asked, cursor.is_lost) == ([True, True, True], False)


def test_empty_landing_zone_is_a_complete_pass() -> None:
    """An empty landing zone counts as a complete pass, so the ledgers are not consulted at every tick."""
    assert not select([], Cursor(), limit=10).cursor.is_lost


def test_fresh_cursor_consults_the_ledgers() -> None:
    """A fresh cursor consults the ledgers, so that files that every store holds are not requested."""
    held, new = make_version("a.csv"), make_version("b.csv")

    selection = select([held, new], Cursor(), limit=10, is_held=lambda version: version == held)

    assert _requested(selection) == [str(new)]
    assert select([held, new], selection.cursor, limit=10).requested == ()


def test_dated_names_are_listed_from_the_first_that_can_be_new() -> None:
    """Dated names are listed from the first date that can be new, once every waiting file has been requested.

    Before that, listing starts where the last pass started; with a fresh cursor, at the beginning.
    """
    versions = [make_version(f"2026/11/2{n}.csv", NOW + n) for n in range(4)]
    first = select(versions, Cursor(), limit=10)
    more = [make_version(f"2026/11/2{n}.csv", NOW + n) for n in range(4, 8)]
    second = select(more, first.cursor, first_new="2026/11/22", limit=3)
    third = select(more, second.cursor, first_new="2026/11/22", limit=3)

    cursors = (Cursor(), first.cursor, second.cursor, third.cursor)
    starts = [cursor.begin(now=NOW, first_new="2026/11/23").start for cursor in cursors]
    assert starts == ["", "2026/11/23", "2026/11/22", "2026/11/23"]


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
    """A run's tags say which files it loads, and a sweep leaves the files of queued runs alone."""
    assert names_in_runs([tags], ["a.csv", "b.csv", "c.csv", "d.csv"]) == names


class TestBatches:
    """Which files share a run."""

    def test_few_files_get_a_run_each(self) -> None:
        """Up to five files get a run each, under their own names."""
        versions = [make_version(f"{n}.csv") for n in range(FEW_FILES)]

        assert list(batches(versions, [v.name for v in versions])) == [(v,) for v in versions]

    def test_many_small_files_share(self) -> None:
        """Many small files share runs in key order, up to the limits of a batch."""
        versions = [make_version(f"{n}.csv") for n in range(BATCH_FILES + 20)]

        first, second = batches(versions, [v.name for v in versions])

        assert [*first, *second] == versions
        assert len(first) == BATCH_FILES

    def test_large_file_gets_its_own_run(self) -> None:
        """A large file gets its own run, because it needs its own time and memory."""
        small = [make_version(f"{n}.csv") for n in range(20)]
        large = make_version("large.csv", size=SMALL_BYTES)

        assert set(batches([*small, large], [*(v.name for v in small), "large.csv"])) == {(large,), tuple(small)}

    def test_bytes_are_bounded(self) -> None:
        """Files just below the size limit share a run with few others."""
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
