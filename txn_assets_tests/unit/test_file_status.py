"""The verdict on a file version, from every combination of facts."""

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.files.file_status import (
    REASONS_BYTES,
    Facts,
    FileStatus,
    Findings,
    RunState,
    State,
    findings_metadata,
    is_undecided,
    judge,
    refusal_metadata,
)
from txn_assets.files.ledger import FileVersion, LoadDetails, LoadRecord, Totals
from txn_assets.files.report import ValidationReport

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
GENERATION = int(NOW.timestamp() * 1_000_000)
STORES = ("GCS", "BigQuery", "PostgreSQL")


def version(generation: int = GENERATION) -> FileVersion:
    return FileVersion("a.csv", generation, 10, "AAAAAA==")


def record(generation: int = GENERATION, rows: int = 4) -> LoadRecord:
    totals = Totals(rows, {}, None, None, 0)
    return LoadRecord(version(generation), run_id="run-of-load", key_id="", rules_id="", totals=totals, loaded_at=NOW)


def run(status: str, *, seconds: float = 1, **options: object) -> RunState:
    return RunState("run", NOW + dt.timedelta(seconds=seconds), status, **options)  # type: ignore[arg-type]  # of a test


def status_of(
    *holders: str,
    live: FileVersion | None = version(),  # noqa: B008 - a value
    unread: tuple[str, ...] = (),
    findings: Findings | None = None,
    run: RunState | None = None,
) -> FileStatus:
    held = {label: record() if label in holders else None for label in STORES if label not in unread}
    facts = Facts(feed="transactions", live=live, held=held, unread=unread, findings=findings, run=run)
    status = judge(version(), facts)
    assert status
    return status


SOME_REJECTED = Findings(rows=5, valid=4, rejected={"product: missing": 1})
NONE_VALID = Findings(rows=2, valid=0, rejected={"row: unreadable": 2}, refusal="No valid transactions in a.csv.")


def test_all_rows_loaded() -> None:
    """With every store, and nothing in the quarantine, all rows of the file are loaded."""
    status = status_of(*STORES)
    assert (status.state, status.rows, status.valid, status.rejected) == (State.LOADED, 4, 4, {})
    assert status.run_id == "run-of-load"
    assert [holding.rows for holding in status.stores.values()] == [4, 4, 4]


def test_times_and_reasons_of_a_load() -> None:
    """The ledger says when and how long, and why rows were rejected; a load is finished once every store has it."""
    landed = NOW - dt.timedelta(minutes=2)
    details = LoadDetails(6, 2, {"price: negative": 2}, landed, NOW, {"validate": 1.0, "hash": 0.5, "load": 2.0})
    held = {label: replace(record(), details=details) for label in STORES}
    known = Facts(feed="transactions", live=version(), held=held)
    status = judge(version(), known)
    assert status
    assert (status.landed_at, status.started_at, status.loaded_at) == (landed, NOW, NOW)
    assert (status.rejected, status.size) == ({"price: negative": 2}, 10)
    assert (status.seconds, status.stores["GCS"].seconds) == ({"validate": 1.0, "hash": 0.5}, 2.0)

    missing = judge(version(), replace(known, held=held | {"GCS": None}))
    assert missing
    assert (missing.landed_at, missing.loaded_at) == (landed, None)
    assert status_of(*STORES).landed_at == NOW


def test_some_rows_rejected() -> None:
    """With rejected rows, the file is partly loaded."""
    status = status_of(*STORES, findings=SOME_REJECTED)
    assert (status.state, status.rows, status.valid, status.rejected) == (
        State.PARTLY, 5, 4, {"product: missing": 1},
    )  # fmt: skip


def test_refused_file() -> None:
    """A refused file is rejected with its reason, with or without Dagster, once no run is about to load it."""
    for ended in (None, run("FAILURE")):
        status = status_of(findings=NONE_VALID, run=ended)
        assert (status.state, status.message, status.valid) == (State.REJECTED, NONE_VALID.refusal, 0)
    assert status_of(findings=NONE_VALID, run=run("STARTED")).state is State.RUNNING


def test_refused_after_it_was_loaded() -> None:
    """A loaded file that newer rules refuse is still in the stores, and the reason is shown."""
    status = status_of(*STORES, findings=NONE_VALID)
    assert (status.state, status.rows, status.valid) == (State.PARTLY, 2, 4)
    assert status.message == NONE_VALID.refusal


def test_superseded_file() -> None:
    """A version that is not the live one was replaced, even if ledgers still have it; the live one is named."""
    newer = version(GENERATION + 1)
    status = status_of(*STORES, live=newer)
    assert (status.state, status.message) == (State.SUPERSEDED, f"{newer} replaced it.")

    held = {label: record(GENERATION + 1) for label in STORES}
    deleted = judge(version(), Facts(feed="transactions", live=None, held=held, findings=SOME_REJECTED))
    assert deleted
    assert deleted.state is State.SUPERSEDED


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("QUEUED", State.QUEUED),
        ("NOT_STARTED", State.QUEUED),
        ("STARTING", State.RUNNING),
        ("STARTED", State.RUNNING),
        ("CANCELING", State.RUNNING),
        ("FAILURE", State.FAILED),
        ("CANCELED", State.FAILED),
        ("SUCCESS", State.LANDED),
    ],
)
def test_states_of_a_run(status: str, state: State) -> None:
    """Until the ledgers have the version, the state is that of its run."""
    assert status_of(run=run(status)).state is state


def test_failed_run() -> None:
    """A failed run says why or, if it does not say, which stores it missed. A run to be retried has not failed."""
    status = status_of("GCS", run=run("FAILURE", message="PostgreSQL does not answer."))
    assert (status.state, status.message) == (State.FAILED, "PostgreSQL does not answer.")
    assert status_of("GCS", run=run("FAILURE")).message == "Run run did not load it. Not in BigQuery, PostgreSQL."
    assert status_of(run=run("FAILURE", will_retry=True)).state is State.QUEUED


def test_runs_of_other_versions() -> None:
    """A run that began with an earlier version says nothing about this one, unless it has yet to begin."""
    earlier = GENERATION - 60_000_000
    for one in (
        run("FAILURE", generation=earlier),
        run("STARTED", generation=earlier),
        run("FAILURE", seconds=-60),
        run("STARTED", seconds=-60),
    ):
        assert status_of(run=one).state is State.LANDED
    assert status_of(run=run("QUEUED", generation=earlier)).state is State.QUEUED


def test_deleted_file() -> None:
    """A file deleted after its load is loaded; before, it failed; and one that nothing knows is not known."""
    assert status_of(*STORES, live=None).state is State.LOADED
    status = status_of("GCS", live=None)
    assert status.state is State.FAILED
    assert status.message.startswith("It was deleted from the landing zone before it was loaded.")
    nothing = Facts(feed="transactions", live=None, held=dict.fromkeys(STORES))
    assert judge(version(), nothing) is None


FINDINGS = st.sampled_from((None, SOME_REJECTED, NONE_VALID, Findings(refusal="a.csv is not a transaction file.")))
RUNS = st.sampled_from(
    (None, *(run(status) for status in ("QUEUED", "STARTED", "SUCCESS", "FAILURE")), run("STARTED", seconds=-60))
)
LIVE = st.sampled_from((None, version(), version(GENERATION + 1)))


@given(
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.sampled_from((GENERATION - 1, GENERATION, GENERATION + 1)),
    LIVE,
    FINDINGS,
    RUNS,
)
def test_leaving_out_a_ledger(
    holds: list[bool], generation: int, live: FileVersion | None, findings: Findings | None, run: RunState | None
) -> None:
    """A ledger that need not be read could not have changed the state of a file that anything else still knows."""
    held = {label: record(generation) if has else None for label, has in zip(STORES, holds, strict=True)}
    full = Facts(feed="transactions", live=live, held=held, findings=findings, run=run)
    cheap = {label: one for label, one in held.items() if label != "BigQuery"}
    partial = Facts(feed="transactions", live=live, held=cheap, unread=("BigQuery",), findings=findings, run=run)
    if is_undecided(version(), partial):
        return
    before, after = judge(version(), partial), judge(version(), full)
    # A deleted file that this ledger alone knows is not worth a query for each name that somebody tries.
    if before is None:
        return
    assert after
    # The next look at a file that is moving, after its run has ended, reads the ledger.
    assert before.state.is_moving or before.state is after.state


@given(st.dictionaries(st.text(max_size=60).map("field: {}".format), st.integers(1, 10**9), max_size=300))
def test_metadata_is_bounded(reasons: dict[str, int]) -> None:
    """Rejections by reason fit into an object's metadata: the most frequent by name, the others as one count."""
    rejected = sum(reasons.values())
    report = ValidationReport(rejected + 7, 7, rejected, reasons, (), (), 0)

    metadata = findings_metadata(version(), report)

    assert len(metadata["reasons"].encode()) <= REASONS_BYTES
    found = Findings.of_metadata(metadata, GENERATION)
    assert found
    assert (found.rows, found.valid, sum(found.rejected.values())) == (rejected + 7, 7, rejected)
    assert Findings.of_metadata(metadata, GENERATION + 1) is None


@given(st.text(max_size=3000))
def test_refusal_is_bounded(sentence: str) -> None:
    """A refusal fits into the metadata too, next to the rejections of another version."""
    report = ValidationReport(1, 0, 1, {"row: unreadable": 1}, (), (), 0)
    metadata = findings_metadata(version(GENERATION - 1), report) | refusal_metadata(version(), sentence)

    size = sum(len(key.encode()) + len(value.encode("utf-8", "surrogatepass")) for key, value in metadata.items())
    assert size <= 8192
    found = Findings.of_metadata(metadata, GENERATION)
    assert found
    assert found.rows is None
    assert sentence.startswith(found.refusal.removesuffix("…"))


def test_quarantine_object_of_an_earlier_release() -> None:
    """An object whose metadata has only the generation says that rows were rejected, but not how many."""
    found = Findings.of_metadata({"source_generation": str(GENERATION)}, GENERATION)
    status = status_of(*STORES, findings=found)
    assert (status.state, status.rows, status.valid) == (State.PARTLY, None, 4)
