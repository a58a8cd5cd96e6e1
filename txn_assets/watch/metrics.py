"""The metrics of the platform: what each is called, and how figures of the ledgers and of Dagster become samples.

Names and units follow those of the upload service (`upload/metrics.py`). Labels have a fixed set of values: a file name
is never a label. See docs/how-to/metrics.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0)
"""Upper bounds of the buckets."""

VERDICTS = ("valid", "rejected", "erased")
"""What became of a row."""

LAG = "lag"
"""The stage that stands for the whole time from landing to the end of the load."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long a stage took: the number of loads in each bucket, the last without a bound, and all seconds."""

    counts: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFigures:
    """What PostgreSQL's ledger of a feed says.

    Attributes:
        loads, bytes, records: number of loaded versions, of the bytes of their files, and of the records in these.
        last_load: when the last load ended, in seconds since 1970; None before the first.
        files: number of files by verdict, of the newest version of each.
        rows: number of rows by verdict, as above.
        durations: of the loads of the last day, by stage.
    """

    loads: int = 0
    bytes: int = 0
    records: int = 0
    last_load: float | None = None
    files: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    durations: Mapping[str, Durations] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DagsterFigures:
    """What Dagster knows of runs and assets.

    Attributes:
        files: number of files by feed, store and state.
        last_success: when the last load of a feed into a store ended, in seconds since 1970.
        stuck: number of stuck files by feed, as the last check found.
        stuck_checked: when it looked.
        runs: number of runs by state, those that failed within the last day.
        marts: when each mart was last refreshed.
    """

    files: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    last_success: Mapping[tuple[str, str], float] = field(default_factory=dict)
    stuck: Mapping[str, int] = field(default_factory=dict)
    stuck_checked: Mapping[str, float] = field(default_factory=dict)
    runs: Mapping[str, int] = field(default_factory=dict)
    marts: Mapping[str, float] = field(default_factory=dict)


def ledger_metrics(figures: Mapping[str, LedgerFigures]) -> Iterator[Metric]:
    """Yield the metrics of the ledgers, by feed. Without figures they have no samples."""
    loads = CounterMetricFamily("txn_loads", "Versions of files in PostgreSQL's ledger.", labels=["feed"])
    size = CounterMetricFamily("txn_load_bytes", "Bytes of the files of these versions, as stored.", labels=["feed"])
    records = CounterMetricFamily("txn_load_records", "Records in these files, valid or not.", labels=["feed"])
    last = _gauge("txn_last_load_timestamp_seconds", "When the last load into PostgreSQL ended.", "feed")
    files = _gauge(
        "txn_files", "Files in PostgreSQL, by verdict on their newest version: loaded, partly.", "feed", "verdict"
    )
    rows = _gauge(
        "txn_rows",
        "Rows of these files: valid ones are in the table, rejected and erased ones are not.",
        "feed",
        "verdict",
    )
    stages = GaugeHistogramMetricFamily(
        "txn_stage_seconds", "Seconds of the stages of the loads of the last 24 hours.", labels=["feed", "stage"]
    )
    lag = GaugeHistogramMetricFamily(
        "txn_lag_seconds",
        "Seconds from landing to the end of the load, of the loads of the last 24 hours.",
        labels=["feed"],
    )
    for feed, one in figures.items():
        loads.add_metric([feed], one.loads)
        size.add_metric([feed], one.bytes)
        records.add_metric([feed], one.records)
        if one.last_load is not None:
            last.add_metric([feed], one.last_load)
        for verdict in ("loaded", "partly"):
            files.add_metric([feed, verdict], one.files.get(verdict, 0))
        for verdict in VERDICTS:
            rows.add_metric([feed, verdict], one.rows.get(verdict, 0))
        for stage, durations in one.durations.items():
            buckets = _buckets(durations)
            if stage == LAG:
                lag.add_metric([feed], buckets, durations.seconds)
            else:
                stages.add_metric([feed, stage], buckets, durations.seconds)
    yield from (loads, size, records, last, files, rows, stages, lag)


def dagster_metrics(figures: DagsterFigures) -> Iterator[Metric]:
    """Yield the metrics of Dagster's storage."""
    files = _gauge(
        "txn_store_files", "Files by store and state: loaded, failed, loading, waiting.", "feed", "store", "state"
    )
    for (feed, store, state), count in figures.files.items():
        files.add_metric([feed, store, state], count)
    success = _gauge("txn_store_success_timestamp_seconds", "When the last load into a store ended.", "feed", "store")
    for (feed, store), moment in figures.last_success.items():
        success.add_metric([feed, store], moment)
    stuck = _gauge("txn_stuck_files", "Stuck files, as the last check no_stuck_files found.", "feed")
    for feed, count in figures.stuck.items():
        stuck.add_metric([feed], count)
    checked = _gauge("txn_stuck_check_timestamp_seconds", "When the check no_stuck_files last looked.", "feed")
    for feed, moment in figures.stuck_checked.items():
        checked.add_metric([feed], moment)
    runs = _gauge("txn_runs", "Runs by state: queued, running, failed within the last 24 hours.", "state")
    for state, count in figures.runs.items():
        runs.add_metric([state], count)
    marts = _gauge("txn_mart_timestamp_seconds", "When a mart was last refreshed.", "mart")
    for mart, moment in figures.marts.items():
        marts.add_metric([mart], moment)
    yield from (files, success, stuck, checked, runs, marts)


def billing_metrics(billed: Mapping[str, int]) -> Iterator[Metric]:
    """Yield what the loads of each feed had billed."""
    total = _gauge("txn_billed_bytes", "Bytes billed by the loads in BigQuery's ledger.", "feed")
    for feed, count in billed.items():
        total.add_metric([feed], count)
    yield total


def source_metrics(up: Mapping[str, bool], seconds: Mapping[str, float]) -> Iterator[Metric]:
    """Yield whether each source answered, and how long it took. Metrics of a source that did not are left out."""
    is_up = _gauge("txn_up", "Whether the source of metrics answered: ledgers, bigquery, dagster.", "source")
    took = _gauge("txn_read_seconds", "Seconds that reading the source took.", "source")
    for source, answered in up.items():
        is_up.add_metric([source], answered)
        took.add_metric([source], seconds[source])
    yield from (is_up, took)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    bounds = [*(f"{bound:g}" for bound in SECONDS), "+Inf"]
    return list(zip(bounds, accumulate(durations.counts), strict=True))
