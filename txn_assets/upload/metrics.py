"""Metrics in Prometheus's text format at `/metrics`. They count in this process: sum them over the replicas.

Labels have a fixed set of values. A subject or a file name is never a label.
"""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

router = APIRouter()

UPLOADS = Counter(
    "txn_uploads",
    "Uploads by outcome: landed, limited (429), refused (another 4xx), failed (5xx), or broken_off by the client.",
    ["outcome"],
)
UPLOAD_BYTES = Counter("txn_upload_bytes", "Bytes received in uploads, whatever became of them.")
UPLOAD_SECONDS = Histogram(
    "txn_upload_seconds",
    "Seconds from the first byte of an upload to its end, whatever became of it.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
UPLOADS_IN_FLIGHT = Gauge("txn_uploads_in_flight", "Uploads in progress.")

for _outcome in ("landed", "limited", "refused", "failed", "broken_off"):
    # Export each outcome from the start, because a rate needs a zero to start from.
    UPLOADS.labels(_outcome)


@router.get("/metrics", include_in_schema=False)
def read_metrics() -> Response:
    """Return the metrics of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
