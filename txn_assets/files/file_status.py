"""What became of a file version, from what the landing zone, the quarantine, the ledgers and Dagster say about it.

This module only judges. `stores/file_status.py` asks, and `upload/status.py` answers over HTTP. Everything but the run
is also known without Dagster, so a verdict survives the loss of its database. See docs/upload.md, 'What became of a
file'.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from txn_assets.files.ledger import FileVersion, LoadRecord
from txn_assets.files.report import ValidationReport, bounded_reasons
from txn_assets.files.retention import landed_at

REASONS_BYTES = 4096
"""Maximum size of the rejections in the metadata of an object, which has at most 8 KiB in all:
https://cloud.google.com/storage/quotas#objects"""

REFUSAL_CHARACTERS = 700
"""Maximum length of a refusal in the metadata of an object; a character takes up to four bytes."""


class State(StrEnum):
    """What became of a file version."""

    LANDED = "landed"
    """It is in the landing zone, and no run has begun with it."""
    QUEUED = "queued"
    RUNNING = "running"
    LOADED = "loaded"
    """Every store has every row of the file."""
    PARTLY = "partly"
    """Every store has the valid rows; the others are in the quarantine."""
    REJECTED = "rejected"
    """The file cannot be loaded as it is, and the stores keep what they had."""
    FAILED = "failed"
    """The run failed for another reason, and some stores may have the file. It is loaded again."""
    SUPERSEDED = "superseded"
    """A newer version has landed under the same name."""

    @property
    def is_moving(self) -> bool:
        """Whether a run is still to come or to end."""
        return self in (State.LANDED, State.QUEUED, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Findings:
    """What validation found in a file version, as the metadata of its quarantine object keeps it.

    Attributes:
        rows, valid: number of rows, and of valid ones; None if the file was refused before they were counted.
        rejected: how often each "field: code" rejected a row.
        erased: how many rows were left out of the rejected ones because of an erasure request.
        refusal: why the file as a whole was refused; '' if it was not.
    """

    rows: int | None = None
    valid: int | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    refusal: str = ""
    erased: int = 0

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str], generation: int) -> "Findings | None":
        """Return what `metadata` says about a generation of the file; None if it is about others."""
        is_counted = metadata.get("source_generation") == str(generation)
        is_refused = metadata.get("refused_generation") == str(generation)
        if not is_counted and not is_refused:
            return None
        # An earlier release wrote the generation alone.
        is_counted = is_counted and "records" in metadata
        return cls(
            rows=int(metadata["records"]) if is_counted else None,
            valid=int(metadata["valid"]) if is_counted else None,
            rejected=json.loads(metadata["reasons"]) if is_counted else {},
            refusal=metadata["refused"] if is_refused else "",
            erased=int(metadata.get("erased", 0)) if is_counted else 0,
        )


def findings_metadata(version: FileVersion, report: ValidationReport) -> dict[str, str]:
    """Return the metadata of the quarantine object of `version`, without a value from a row."""
    return {
        "source_generation": str(version.generation),
        "records": str(report.records),
        "valid": str(report.valid),
        "reasons": bounded_reasons(report.reasons, REASONS_BYTES),
        "erased": str(report.erased),
    }


def refusal_metadata(version: FileVersion, sentence: str) -> dict[str, str]:
    """Return the metadata that says why `version` was refused as a whole."""
    short = f"{sentence[: REFUSAL_CHARACTERS - 1]}…" if len(sentence) > REFUSAL_CHARACTERS else sentence
    return {"refused_generation": str(version.generation), "refused": short}


@dataclass(frozen=True, slots=True)
class RunState:
    """The newest run that loads a file, as Dagster knows it.

    Attributes:
        created_at: when the run was requested.
        status: of Dagster, such as `QUEUED`.
        generation: the version that it was requested for; None if it does not say.
        is_batch: whether it loads a range of files.
        will_retry: whether Dagster starts another run in its place.
        url: its page in Dagster's UI.
        message: why it failed, if that is about this file alone; ''.
    """

    run_id: str
    created_at: dt.datetime
    status: str
    generation: int | None = None
    is_batch: bool = False
    will_retry: bool = False
    url: str = ""
    message: str = ""

    @property
    def is_queued(self) -> bool:
        """Whether it has yet to begin, or to be replaced by a retry."""
        return self.status in ("QUEUED", "NOT_STARTED", "MANAGED") or self.will_retry

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self.status in ("STARTING", "STARTED", "CANCELING")

    @property
    def has_ended(self) -> bool:
        """Whether it has ended for good."""
        return not self.is_queued and not self.is_running

    def is_about(self, version: FileVersion) -> bool:
        """Return whether it loads `version`, or a newer one: a run takes the version that is live when it begins."""
        if self.is_queued:
            return True
        if self.generation is not None:
            return self.generation == version.generation
        return self.created_at >= landed_at(version.generation) - CLOCK_SKEW


CLOCK_SKEW = dt.timedelta(seconds=5)
"""How far the clocks of Dagster's database and of the storage may differ."""


LOAD = "load"
"""The stage of a store in `LoadDetails.seconds`."""


@dataclass(frozen=True, slots=True)
class StoreHolding:
    """What a store has of a file version: the number of its rows, and since when. None if it does not have it.

    Attributes:
        seconds: how long the load took, if the store notes it.
        address: where the rows are; '' until `stores/file_status.py` adds it.
    """

    rows: int | None = None
    loaded_at: dt.datetime | None = None
    run_id: str = ""
    seconds: float | None = None
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about a file version.

    Attributes:
        live: the version in the landing zone, or None if there is none.
        held: the newest version in each ledger that was read, by label of the store; None if it has none.
        unread: labels of the stores whose ledgers were not read.
        findings: what the quarantine says about this version.
        run: the newest run of the file, if Dagster answers and knows one.
    """

    feed: str
    live: FileVersion | None
    held: Mapping[str, LoadRecord | None]
    unread: tuple[str, ...] = ()
    findings: Findings | None = None
    run: RunState | None = None


@dataclass(frozen=True, kw_only=True)
class FileStatus:
    """The verdict on a file version.

    Attributes:
        rows: number of rows in the file; None while unknown.
        valid: how many of them are valid.
        rejected: how often each "field: code" rejected a row. A row may have several reasons.
        erased: how many rows were left out or deleted because of an erasure request.
        stores: what each store has of this version, by label; stores whose ledgers were not read are left out.
        run_id: the run that loaded it or is about to.
        url: the page of the run in Dagster's UI, while Dagster knows it.
        message: why it is not loaded; '' if there is nothing to say.
        size: bytes of the landed object; None while unknown.
        landed_at, started_at, loaded_at: when it landed, when its validation began, and when the last store had it;
            None while unknown.
        seconds: how long its validation and hashing took, by stage.
        quarantine: the address of its rejected rows; '' if it has none.
    """

    version: FileVersion
    feed: str
    state: State
    rows: int | None = None
    valid: int | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    erased: int = 0
    stores: Mapping[str, StoreHolding] = field(default_factory=dict)
    run_id: str = ""
    url: str = ""
    message: str = ""
    size: int | None = None
    landed_at: dt.datetime
    started_at: dt.datetime | None = None
    loaded_at: dt.datetime | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    quarantine: str = ""


def judge(version: FileVersion, facts: Facts) -> FileStatus | None:
    """Return the verdict on `version`; None if nothing knows it."""
    records = {label: one for label, one in facts.held.items() if one and one.file.generation == version.generation}
    run = facts.run if facts.run and facts.run.is_about(version) else None
    if not (records or facts.findings or run) and facts.live is None:
        return None
    state, message = _state(version, facts, records, run)
    findings = facts.findings or Findings()
    details = next((record.details for record in records.values() if record.details), None)
    rows, valid, erased = findings.rows, findings.valid, findings.erased
    if records and state in (State.LOADED, State.PARTLY):
        valid = next(iter(records.values())).totals.rows
        erased = details.erased if details else 0
        # A file without rejected rows has no quarantine object.
        rows = rows if facts.findings else valid + erased
    loaded_by = next((record.run_id for record in records.values()), "")
    known = (facts.live, *(record.file for record in records.values()))
    sizes = (one.size for one in known if one and one.generation == version.generation)
    is_everywhere = not facts.unread and len(records) == len(facts.held)
    loaded = [record.loaded_at for record in records.values() if record.loaded_at and is_everywhere]
    return FileStatus(
        version=version,
        feed=facts.feed,
        state=state,
        rows=rows,
        valid=valid,
        rejected=findings.rejected or (details.reasons if details else {}),
        erased=erased,
        stores={label: _holding(records.get(label)) for label in facts.held},
        run_id=run.run_id if run else loaded_by,
        url=run.url if run else "",
        message=message,
        size=next(sizes, None),
        landed_at=details.landed_at if details else landed_at(version.generation),
        started_at=details.started_at if details else None,
        loaded_at=max(loaded, default=None),
        seconds={stage: seconds for stage, seconds in details.seconds.items() if stage != LOAD} if details else {},
    )


def is_undecided(version: FileVersion, facts: Facts) -> bool:
    """Return whether the ledgers that were not read yet could change the verdict, or say which stores a run missed."""
    verdict = judge(version, facts)
    if verdict is None or verdict.state in (State.SUPERSEDED, State.QUEUED, State.RUNNING):
        return False
    # The landing zone no longer says whether another version replaced this one.
    if facts.live is None:
        return True
    return verdict.state is State.FAILED or all(holding.rows is not None for holding in verdict.stores.values())


def _holding(record: LoadRecord | None) -> StoreHolding:
    if record is None:
        return StoreHolding()
    seconds = record.details.seconds.get(LOAD) if record.details else None
    return StoreHolding(record.totals.rows, record.loaded_at, record.run_id, seconds)


def _state(  # noqa: PLR0911 - one for each state
    version: FileVersion, facts: Facts, records: Mapping[str, LoadRecord], run: RunState | None
) -> tuple[State, str]:
    if newer := _newer(version, facts):
        return State.SUPERSEDED, f"{newer} replaced it."
    if not facts.unread and len(records) == len(facts.held):
        findings = facts.findings
        if findings is None:
            return State.LOADED, ""
        # It may have been refused since, when it was to be loaded again under other rules.
        return (State.PARTLY if findings.rejected or not findings.refusal else State.LOADED), findings.refusal
    if run and not run.has_ended:
        return (State.QUEUED if run.is_queued else State.RUNNING), ""
    if facts.findings and facts.findings.refusal:
        return State.REJECTED, facts.findings.refusal
    if run and run.status != "SUCCESS":
        return State.FAILED, run.message or f"Run {run.run_id} did not load it. {_missing(facts, records)}".strip()
    if facts.live is None:
        return State.FAILED, f"It was deleted from the landing zone before it was loaded. {_missing(facts, records)}"
    return State.LANDED, _missing(facts, records) if records else ""


def _newer(version: FileVersion, facts: Facts) -> FileVersion | None:
    """Return the version that replaced `version`: the live one, or, if there is none, the newest in a ledger."""
    if facts.live:
        return facts.live if facts.live.generation != version.generation else None
    held = [record.file for record in facts.held.values() if record]
    newest = max(held, key=lambda file: file.generation, default=version)
    return newest if newest.generation > version.generation else None


def _missing(facts: Facts, records: Mapping[str, LoadRecord]) -> str:
    missing = [label for label in facts.held if label not in records]
    return f"Not in {', '.join(missing)}." if missing else ""
