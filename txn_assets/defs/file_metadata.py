"""What a run shows of each file in the catalog: counts, reasons, first rows, speed, memory, links and a chart.

The assets record it with their materializations. Nothing here has clear PII. See docs/catalog.md.
"""

import resource
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import dagster as dg

from txn_assets.defs.charts import draw_file
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import FEW_FILES
from txn_assets.files.report import ValidationReport
from txn_assets.files.values import HashedFile
from txn_assets.rows.contract import RowContract
from txn_assets.stores.access import Access
from txn_assets.stores.services import Services

MAX_REASONS = 50
"""Maximum number of reasons in a table: the most frequent."""

CONSOLE = "https://console.cloud.google.com"


def speed(rows: int, seconds: float) -> dict[str, Any]:
    """Return how long a stage took, and the most memory that its process has had so far."""
    return {
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / max(seconds, 0.001)),
        # Linux counts in KiB.
        "peak_memory_bytes": dg.MetadataValue.int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
    }


def rejects(report: ValidationReport) -> dict[str, Any]:
    """Return the table of the reasons of `report`; nothing if no row was rejected."""
    if not report.rejected:
        return {}
    in_order = sorted(report.reasons.items(), key=lambda reason: (-reason[1], reason[0]))
    records = []
    for reason, rows in in_order[:MAX_REASONS]:
        field, _, code = reason.partition(": ")
        share = f"{rows / report.records:.2%}"
        records.append(dg.TableRecord({"field": field, "code": code, "rows": rows, "share": share}))
    types = {"field": "string", "code": "string", "rows": "int", "share": "string"}
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in types.items()])
    return {"rejects_by_reason": dg.MetadataValue.table(records, schema)}


def first_rows(contract: RowContract, rows: Sequence[dict[str, str | None]]) -> dict[str, Any]:
    """Return the table of the first hashed rows; nothing if there are none."""
    if not rows:
        return {}
    schema = dg.TableSchema([dg.TableColumn(name) for name in contract.staged_columns])
    return {"first_rows": dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema)}


def overview(services: Services, hashed: HashedFile, report: ValidationReport, *, files: int) -> dict[str, Any]:
    """Return the first rows of a hashed file and, in a run of at most `FEW_FILES` files, its chart.

    A chart takes tens of kilobytes of Dagster's storage.
    """
    feed, run_files = services.feed, services.run_files
    metadata = first_rows(feed.contract, run_files.first_rows(hashed))
    if files <= FEW_FILES:
        chart = draw_file(run_files.by_day(hashed), report.reasons, amount=_amount(feed))
        metadata |= {"chart": dg.MetadataValue.md(chart)} if chart else {}
    return metadata


def _amount(feed: Feed) -> str:
    return " x ".join(feed.amount)


def object_link(access: Access, address: str) -> dg.UrlMetadataValue:
    """Return the link to the object at `address`, a `gs://` address: in Google's console, or in the local server."""
    bucket, _, name = address.removeprefix("gs://").partition("/")
    if access.gcs_url:
        return dg.MetadataValue.url(f"{access.gcs_url}/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media")
    return dg.MetadataValue.url(f"{CONSOLE}/storage/browser/_details/{bucket}/{quote(name)}")


def job_link(access: Access, job_id: str) -> dict[str, Any]:
    """Return the link to a BigQuery job in Google's console; its id alone if the server is the local one."""
    if not job_id:
        return {}
    if access.bigquery_url:
        return {"job_id": job_id}
    job = quote(f"bq:{access.location}:{job_id}")
    link = f"{CONSOLE}/bigquery?project={access.project_id}&j={job}&page=queryresults"
    return {"job_id": job_id, "job": dg.MetadataValue.url(link)}
