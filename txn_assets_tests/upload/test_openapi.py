"""The OpenAPI document holds: whatever is sent to a route, the answer is one that the document describes."""

import subprocess
import sys
from pathlib import Path

from txn_assets_tests.upload.server import Service

CONFIG = {"security": {"authentication": "none"}, "upload": {"wait_seconds": 0}}
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def test_answers_are_documented(service: Service, tmp_path: Path) -> None:
    """Generated requests, valid and not, find no 5xx and no answer that the document lacks."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{service.url}/openapi.json",
            "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", "8",
            "--generation-deterministic", "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    # The examples in the document land.
    assert service.landed_names() == ["anonymous/orders.csv", "transactions.csv"]
