"""The OpenAPI document holds: whatever is sent to a route, the answer is one that the document describes."""

import subprocess
import sys
from pathlib import Path

from txn_assets_tests.deployment import make_row
from txn_assets_tests.upload.conftest import Sign
from txn_assets_tests.upload.server import Service
from txn_assets_tests.upload.test_sales import refresh

CONFIG = {"upload": {"wait_seconds": 0}}
SCOPES = "transactions:write transactions:read-all sales:read"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def test_answers_are_documented(service: Service, sign: Sign, tmp_path: Path) -> None:
    """Generated requests, valid and not, find no 5xx and no answer that the document lacks.

    Two of the marts have rows, and the others are not configured.
    """
    deployment = service.deployment
    deployment.load("a.csv", make_row())
    refresh(deployment)
    token = sign(scope=SCOPES)["Authorization"]
    service.token = token.removeprefix("Bearer ")
    assert service.get("/sales/by-product").status_code == 200
    missing = service.get("/sales/trends")
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/problem+json")
    assert "add it to transformation.models" in missing.json()["detail"]
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{service.url}/openapi.json",
            "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", "8",
            "--generation-deterministic", "--no-color", "--header", f"Authorization: {token}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    # The examples in the document land.
    assert service.landed_names() == ["a.csv", "ann/orders.csv", "transactions.csv"]
