"""The decision between loading, keeping and standing back, and the totals that it relies on."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from txn_assets.files.ledger import (
    NOTHING,
    Action,
    Changes,
    FileVersion,
    Holding,
    LoadDetails,
    LoadRecord,
    Totals,
    decide,
    is_news,
    notes_rejects,
    read_holdings,
)
from txn_assets.files.ledger_columns import ledger_columns

SUMS = {"amount": Decimal("1274.96"), "pieces": Decimal(19)}
TOTALS = Totals(4, SUMS, dt.date(2023, 10, 1), dt.date(2023, 10, 5), 0x123)
OTHER = replace(TOTALS, rows=3)


def make_record(*, generation: int = 2, crc32c: str = "AAAAAA==", **overrides: Any) -> LoadRecord:
    """Return the ledger row of a load, with `overrides`."""
    record = LoadRecord(FileVersion("a.csv", generation, 300, crc32c), "run", "sha256", "rules", TOTALS)
    return replace(record, **overrides)


INCOMING = make_record()
DETAILS = LoadDetails(
    records=5,
    rejected=1,
    reasons={"product: missing": 1},
    landed_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    started_at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    seconds={"validate": 1.5, "hash": 0.25},
)


@pytest.mark.parametrize(
    ("held", "in_store", "action"),
    [
        pytest.param(None, None, Action.LOAD, id="never loaded"),
        pytest.param(make_record(), TOTALS, Action.KEEP, id="same version again"),
        pytest.param(make_record(run_id="earlier"), TOTALS, Action.KEEP, id="same version by another run"),
        pytest.param(make_record(generation=1), TOTALS, Action.KEEP, id="same bytes uploaded again"),
        pytest.param(make_record(), None, Action.LOAD, id="same content, store not looked at"),
        pytest.param(make_record(), OTHER, Action.LOAD, id="rows of the store were changed"),
        pytest.param(make_record(), NOTHING.totals, Action.LOAD, id="rows of the store are gone"),
        pytest.param(make_record(generation=1, crc32c="BBBBBB=="), TOTALS, Action.LOAD, id="older bytes"),
        pytest.param(make_record(crc32c="BBBBBB=="), TOTALS, Action.LOAD, id="other bytes of one generation"),
        pytest.param(make_record(key_id="2026-01"), TOTALS, Action.LOAD, id="key rotated"),
        pytest.param(make_record(rules_id="other"), TOTALS, Action.LOAD, id="rules changed"),
        pytest.param(make_record(totals=OTHER), OTHER, Action.LOAD, id="held other rows"),
        pytest.param(make_record(generation=3), TOTALS, Action.STAND_BACK, id="newer version, same content"),
        pytest.param(make_record(generation=3, crc32c="BBBBBB=="), None, Action.STAND_BACK, id="newer version"),
        pytest.param(make_record(generation=3, rules_id="other"), OTHER, Action.STAND_BACK, id="newer, rules changed"),
    ],
)
def test_decision(held: LoadRecord | None, in_store: Totals | None, action: Action) -> None:
    """A load of the second generation decides according to what it finds."""
    assert decide(INCOMING, held, in_store) is action


@pytest.mark.parametrize(
    ("held", "action", "is_written"),
    [
        pytest.param(None, Action.LOAD, True, id="first load"),
        pytest.param(make_record(details=DETAILS), Action.LOAD, True, id="rows are written again"),
        pytest.param(make_record(details=DETAILS), Action.KEEP, False, id="same version: how it was loaded stays"),
        pytest.param(make_record(), Action.KEEP, True, id="the row of an earlier release is completed"),
        pytest.param(make_record(generation=1, details=DETAILS), Action.KEEP, True, id="same bytes uploaded again"),
        pytest.param(make_record(generation=3, details=DETAILS), Action.STAND_BACK, False, id="newer version held"),
    ],
)
def test_which_loads_write_a_ledger_row(held: LoadRecord | None, action: Action, is_written: bool) -> None:
    """A load that finds its version already there leaves the ledger row of the load that wrote the rows."""
    assert is_news(make_record(run_id="later", details=DETAILS), held, action) is is_written


OTHER_DETAILS = replace(DETAILS, rejected=2, reasons={"price: decimal": 2})


@pytest.mark.parametrize(
    ("held", "is_noted"),
    [
        pytest.param(None, True, id="first load"),
        pytest.param(make_record(details=DETAILS), False, id="loaded again, for its rows or its key"),
        pytest.param(make_record(details=DETAILS, key_id="2026-01"), False, id="another key rejects the same"),
        pytest.param(make_record(details=DETAILS, rules_id="other"), True, id="other rules"),
        pytest.param(make_record(details=OTHER_DETAILS), True, id="other reasons, as a date bound moves with the day"),
        pytest.param(make_record(), True, id="an earlier release noted none"),
        pytest.param(make_record(generation=1, details=DETAILS), True, id="another version"),
    ],
)
def test_which_loads_note_rejects(held: LoadRecord | None, is_noted: bool) -> None:
    """What was rejected in a version is noted once, and again only if something else was rejected."""
    assert notes_rejects(make_record(details=DETAILS), held) is is_noted
    assert not notes_rejects(make_record(details=replace(DETAILS, rejected=0, reasons={})), held)
    assert not notes_rejects(make_record(), held)


def test_details_say_what_the_load_did() -> None:
    """A load adds its seconds, and the generation that it replaces, whichever came first."""
    loaded = make_record(details=DETAILS).replacing(make_record(generation=1)).timed(2.0004)
    assert loaded.details == replace(
        DETAILS, seconds={"validate": 1.5, "hash": 0.25, "load": 2.0}, replaced_generation=1
    )
    assert INCOMING.replacing(None).timed(1.0) == INCOMING


def test_file_without_rows_is_kept() -> None:
    """A file without rows is unchanged if the store has no rows of it, whatever sums an empty store reports."""
    empty = replace(TOTALS, rows=0, sums=dict.fromkeys(SUMS, Decimal(0)), min_date=None, max_date=None, fingerprint=0)
    assert decide(make_record(totals=empty), make_record(totals=empty), NOTHING.totals) is Action.KEEP


@pytest.mark.parametrize(
    ("held", "live", "action"),
    [
        pytest.param(3, 2, Action.LOAD, id="the live version has the smaller generation"),
        pytest.param(1, 1, Action.STAND_BACK, id="the bucket went back to a smaller generation"),
        pytest.param(3, 3, Action.STAND_BACK, id="the larger one is live"),
        pytest.param(1, 2, Action.LOAD, id="the incoming one is live"),
        pytest.param(3, 9, Action.STAND_BACK, id="both are history, the larger one is later"),
        pytest.param(1, None, Action.LOAD, id="the file is gone, the larger one is later"),
    ],
)
def test_live_version_wins(held: int, live: int | None, action: Action) -> None:
    """Of two generations, the one in the landing zone wins, even if it is smaller."""
    assert decide(INCOMING, make_record(generation=held, crc32c="BBBBBB=="), None, live=live) is action


def test_same_content_ignores_who_loaded_it_and_when() -> None:
    """Run, time, generation and size are not part of the content."""
    later = make_record(generation=9, run_id="later").at(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    assert later.same_content(INCOMING)


def test_file_version_reads_as_name_at_generation() -> None:
    """A file version reads as name@generation, the run key of a sensor's request."""
    assert str(INCOMING.file) == "a.csv@2"


class TestRow:
    """The ledger row of a record."""

    def test_record_is_read_back(self) -> None:
        """A record is read back from its row, with the time that the store adds."""
        moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        assert LoadRecord.from_row(INCOMING.to_row() | {"loaded_at": moment}) == INCOMING.at(moment)

    @pytest.mark.parametrize("job_id", ["", "txn_commit_1_0"])
    def test_details_are_read_back(self, job_id: str) -> None:
        """Details are read back, whether a store returns its JSON and its times as values or as text."""
        record = make_record(details=replace(DETAILS, job_id=job_id, replaced_generation=1, bytes_billed=0))
        row = record.to_row()
        as_text = {name: str(value) for name, value in row.items() if value is not None}
        as_values = row | {"reasons": {"product: missing": 1}, "stage_seconds": {"validate": 1.5, "hash": 0.25}}
        assert LoadRecord.from_row(as_text) == LoadRecord.from_row(as_values) == record

    def test_row_of_an_earlier_release_has_no_details(self) -> None:
        """A row whose details are null or missing, as an earlier release wrote it, gives a record without details."""
        row = INCOMING.to_row()
        assert row["records"] is None
        assert LoadRecord.from_row(row).details is None
        assert LoadRecord.from_row({name: value for name, value in row.items() if value is not None}).details is None

    def test_values_of_a_store_become_those_of_the_record(self) -> None:
        """Nulls become zeros and empty text, and whole numbers exact integers, although databases return decimals."""
        row = INCOMING.to_row() | {"sum_amount": None, "row_count": Decimal(4), "rules_id": None}
        found = LoadRecord.from_row(row)
        assert (found.totals, found.rules_id) == (with_sum(amount=Decimal(0)), "")

    def test_row_from_before_a_column_was_added(self) -> None:
        """A ledger row without some column, as an earlier release wrote it, gives a record without that value."""
        row = INCOMING.to_row()
        del row["fingerprint"], row["rules_id"]
        found = LoadRecord.from_row(row)
        assert (found.totals, found.rules_id) == (replace(TOTALS, fingerprint=0), "")

    def test_sums_are_between_count_and_dates(self) -> None:
        """The sums come after the count of rows, in the order of the columns, with their decimals."""
        columns = {column.name: column.kind.postgres for column in ledger_columns({"amount": 4, "pieces": 0})}
        names = ["row_count", "sum_amount", "sum_pieces", "min_date"]
        assert [name for name in columns if name in names] == names
        assert (columns["sum_amount"], columns["sum_pieces"]) == ("numeric(38,4) NOT NULL", "numeric(38,0) NOT NULL")


def with_sum(**sums: Decimal) -> Totals:
    """Return `TOTALS` with other sums."""
    return replace(TOTALS, sums=SUMS | sums)


class TestTotals:
    """Totals of what a store holds."""

    def test_equal_totals_have_no_differences(self) -> None:
        """Equal totals have no differences, whatever their scale: a store's 1274.9600 is 1274.96."""
        assert TOTALS.differences(with_sum(amount=Decimal("1274.9600"))) == {}

    @pytest.mark.parametrize(
        ("name", "value"),
        [("rows", 3), ("min_date", None), ("max_date", dt.date(2023, 10, 6)), ("fingerprint", 0x124)],
    )
    def test_each_difference_is_named_with_both_values(self, name: str, value: object) -> None:
        """Each difference is named with both values, so that a message can say what each store has."""
        other = replace(TOTALS, **{name: value})  # type: ignore[arg-type]  # each value fits its attribute
        assert TOTALS.differences(other) == {name: (getattr(TOTALS, name), value)}

    @pytest.mark.parametrize(("name", "value"), [("amount", Decimal("1274.9601")), ("pieces", Decimal(20))])
    def test_different_sum_has_the_name_of_its_column(self, name: str, value: Decimal) -> None:
        """A sum that differs is named after its column."""
        assert TOTALS.differences(with_sum(**{name: value})) == {name: (SUMS[name], value)}

    @pytest.mark.parametrize(("amount", "found"), [("1274.9601", False), ("1274.97", True)])
    def test_rounding_of_a_binary_column_is_not_a_difference(self, amount: str, found: bool) -> None:
        """A difference within the rounding of the original table's binary floats does not count, but a cent does."""
        differences = TOTALS.differences(with_sum(amount=Decimal(amount)), inexact=["amount"])
        assert ("amount" in differences) is found

    def test_inexact_column_excuses_nothing_else(self) -> None:
        """An inexact column excuses no other difference: rows are counted exactly in any table."""
        other = replace(with_sum(amount=Decimal("1274.9601")), rows=5)
        assert TOTALS.differences(other, inexact=["amount"]) == {"rows": (4, 5)}

    def test_store_without_rows_has_totals_of_nothing(self) -> None:
        """A store without rows has zero totals, although SQL sums over no rows are null."""
        found = Totals.of_row((0, None, None, None, None, None), ["amount", "pieces"])
        assert found.differences(NOTHING.totals) == {}

    def test_numbers_of_a_query_become_exact(self) -> None:
        """Sums become exact decimals, and counts integers, although drivers return either."""
        row = (Decimal(4), Decimal("1274.9600"), 19, TOTALS.min_date, TOTALS.max_date, 0x123)
        assert Totals.of_row(row, ["amount", "pieces"]) == TOTALS


def test_only_rows_of_other_runs_are_fingerprinted_again() -> None:
    """A run that just loaded a file takes the fingerprint from its ledger row, but reads everything else back."""
    held = {name: make_record(run_id=run_id) for name, run_id in {"mine": "this", "theirs": "another"}.items()}
    in_store = {"mine": replace(OTHER, fingerprint=0), "theirs": replace(OTHER, fingerprint=7)}
    asked = []

    def read_totals(names: list[str], *, has_fingerprint: bool = True) -> dict[str, Totals]:
        asked.append((names, has_fingerprint))
        return {name: in_store[name] for name in names}

    found = read_holdings(["mine", "theirs", "absent"], held, "this", read_totals)

    assert asked == [(["theirs"], True), (["mine"], False)]
    assert found["mine"] == Holding(2, replace(OTHER, fingerprint=TOTALS.fingerprint))
    assert found["theirs"] == Holding(2, in_store["theirs"])
    assert found["absent"] == NOTHING


def test_vanished_rows_are_no_longer_held() -> None:
    """A file whose ledger row survived but whose rows are gone holds nothing, whoever loaded it."""
    for run_id in ("this", "another"):
        found = read_holdings(["a.csv"], {"a.csv": make_record()}, run_id, lambda *_, **__: {})
        assert found["a.csv"].totals == NOTHING.totals


@pytest.mark.parametrize(
    ("changes", "ratio"),
    [
        (Changes(1, 2, 1), "0.8"),
        (Changes(0, 0, 0), "0"),
        (Changes(4, 0, 0), "4"),
        (Changes(0, 4, 4), "1"),
        (None, None),
    ],
)
def test_share_of_changed_rows(changes: Changes | None, ratio: str | None) -> None:
    """Added, gone and changed rows are a share of the rows that were there before."""
    assert make_record(changes=changes).change_ratio == (ratio and Decimal(ratio))
