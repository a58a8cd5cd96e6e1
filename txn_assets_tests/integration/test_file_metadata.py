"""What the catalog shows of a file after a run: tables, a chart, speed and links, and never clear PII."""

import datetime as dt
import hashlib
from operator import itemgetter
from typing import Any

import dagster as dg
import requests
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.defs.charts import draw_file
from txn_assets.defs.file_metadata import job_link, object_link, rejects
from txn_assets.files.arrival import FEW_FILES
from txn_assets.files.report import ValidationReport
from txn_assets.stores.access import Access
from txn_assets_tests.charts import read_charts
from txn_assets_tests.deployment import SINKS, Deployment, make_file, make_row

GCP = Access(project_id="my-project", location="EU", postgres={})
SECRET = "S3CRET-ID"


def recorded(deployment: Deployment, asset: str) -> dict[str, dict[str, Any]]:
    """Return the metadata of the materializations of `asset`, by file."""
    records = deployment.instance.fetch_materializations(dg.AssetKey(asset), limit=50).records
    found = {one.partition_key or "": one.asset_materialization for one in records}
    return {name: {key: value.value for key, value in one.metadata.items()} for name, one in found.items() if one}


def table(value: Any) -> list[dict[str, Any]]:
    """Return the rows of a table in metadata."""
    return [dict(record.data) for record in value.records]


def test_file_alone(deployment: Deployment) -> None:
    """The validated rows have their reasons as a table, the hashed rows a sample and a chart, the sinks their links."""
    rows = [
        make_row(transaction_id=SECRET, product="x" * 100),
        make_row(transaction_id="T002", date="2023-10-05"),
        make_row(transaction_id="T003", product=""),
        make_row(transaction_id="T004", product="", price="cheap"),
    ]
    generation = deployment.land("a.csv", make_file(*rows))
    deployment.materialize("a.csv")

    validated = recorded(deployment, "validated_transactions")["a.csv"]
    assert table(validated["rejects_by_reason"]) == [
        {"field": "product", "code": "missing", "rows": 2, "share": "50.00%"},
        {"field": "price", "code": "decimal_parsing", "rows": 1, "share": "25.00%"},
    ]
    assert (validated["generation"], validated["bytes"]) == (str(generation), len(make_file(*rows)))
    assert validated["rows_per_second"] > 0
    assert 2**24 < validated["peak_memory_bytes"] < 2**32
    answer = requests.get(validated["quarantine_link"], timeout=10)
    assert answer.content == deployment.objects()["quarantine/transactions/a.csv/rejected.csv"]

    hashed = recorded(deployment, "hashed_transactions")["a.csv"]
    first, second = table(hashed["first_rows"])
    assert first["transaction_id"] == hashlib.sha256(SECRET.encode()).hexdigest()
    assert (len(first["product"]), first["source_row"], second["date"]) == (64, "1", "2023-10-05")
    shown = " ".join(text for chart in read_charts(hashed["chart"]) for text in chart.itertext())
    for text in ("valid rows 2023-10-05 2023-10-01", "price x quantity", "rejects by reason", "product: missing 2"):
        assert text in shown

    sinks = {name: recorded(deployment, name)["a.csv"] for name in SINKS}
    assert {one["generation"] for one in sinks.values()} == {str(generation)}
    assert str(sinks["bigquery_raw_transactions"]["job_id"]).startswith("txn_commit_")
    assert str(sinks["gcs_raw"]["link"]).startswith("http://127.0.0.1:")
    everything = repr([recorded(deployment, name) for name in ("raw_csv", "validated_transactions", *SINKS)])
    assert SECRET not in everything + repr(hashed)


def test_files_of_a_batch(deployment: Deployment) -> None:
    """Each file of a batch has its own tables, but a large batch has no charts."""
    names = [f"{n}.csv" for n in range(FEW_FILES + 1)]
    for n, name in enumerate(names):
        deployment.land(name, make_file(make_row(quantity=str(n + 1)), make_row(product="")))

    deployment.materialize_batch(*names, select="*hashed_transactions")

    validated, hashed = (recorded(deployment, f"{stage}_transactions") for stage in ("validated", "hashed"))
    assert set(validated) == set(hashed) == set(names)
    for n, name in enumerate(names):
        (reason,) = table(validated[name]["rejects_by_reason"])
        assert (reason["field"], reason["rows"]) == ("product", 1)
        assert [row["quantity"] for row in table(hashed[name]["first_rows"])] == [str(n + 1)]
        assert "chart" not in hashed[name]


@given(
    st.lists(
        st.tuples(st.dates(), st.integers(0, 10**12), st.floats(0, 1e45) | st.none()),
        min_size=1,
        max_size=20,
        unique_by=itemgetter(0),
    ),
    st.dictionaries(st.text(max_size=40), st.integers(1, 10**12), max_size=12),
)
def test_every_chart_can_be_drawn(days: list[tuple[dt.date, int, float | None]], reasons: dict[str, int]) -> None:
    """Charts of any days, amounts and reasons are valid SVG: a chart that cannot be drawn would fail the run."""
    chart = draw_file(days, reasons, amount="price x quantity")
    assert chart
    assert len(read_charts(chart)) == (3 if reasons else 2)


def test_chart_is_the_same_each_time() -> None:
    """A chart depends on nothing but its numbers, and stays small with many days and reasons."""
    days = [(dt.date(2023, 1, 1) + dt.timedelta(days=n), n, n / 3) for n in range(400)]
    reasons = {f"field_{n}: {'code' * 30}": n for n in range(500)}
    charts = {draw_file(days, reasons, amount="price x quantity") for _ in range(2)}
    assert len(charts) == 1
    assert len(charts.pop() or "") < 70_000
    assert draw_file([], {}, amount="") is None
    assert draw_file(days[:1], {}, amount="")


def test_reasons_are_bounded() -> None:
    """The table of reasons has the most frequent ones."""
    report = ValidationReport(1000, 0, 1000, {f"f{n}: code": n for n in range(200)}, (), (), 0)
    rows = table(rejects(report)["rejects_by_reason"])
    assert [row["rows"] for row in rows] == list(range(199, 149, -1))


def test_links_to_the_console() -> None:
    """On Google Cloud, objects and jobs link to the console."""
    link = object_link(GCP, "gs://bucket/quarantine/2024/a b#1.csv/rejected.csv")
    assert link.value == (
        "https://console.cloud.google.com/storage/browser/_details/bucket/quarantine/2024/a%20b%231.csv/rejected.csv"
    )
    assert job_link(GCP, "txn_commit_1_0")["job"].value == (
        "https://console.cloud.google.com/bigquery?project=my-project&j=bq%3AEU%3Atxn_commit_1_0&page=queryresults"
    )
