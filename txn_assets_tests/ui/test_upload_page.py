"""What a person sees on the upload page of `make upload` while Dagster loads the file."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from txn_assets.local import ports
from txn_assets.local.tokens import make_token
from txn_assets_tests.deployment import Deployment, make_file, make_row
from txn_assets_tests.ui.conftest import WAIT_SECONDS, Picture, answers


@pytest.fixture(scope="module")
def upload_page(dev: Deployment, home: Path) -> Iterator[tuple[str, str]]:
    """Yield the address of the upload page beside `make dev`, and a token for it."""
    claims = {"iss": dev.endpoints.issuer_url, "aud": "txn-assets", "sub": "ann", "scope": "transactions:write"}
    token = make_token(home, claims, minutes=60)
    port = ports.choose(("upload",), {})["upload"]
    with (
        (home / "upload.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "txn_assets.cli", "upload", str(port)], stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}/"
        deadline = time.monotonic() + WAIT_SECONDS
        while not answers(url):
            assert process.poll() is None, (home / "upload.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield url, token
        process.terminate()


def test_uploaded_file_is_followed_into_the_stores(
    page: Page, dev: Deployment, upload_page: tuple[str, str], tmp_path: Path, picture: Picture
) -> None:
    """A chosen file is loaded, and the page says how many rows each store has, and why a row was rejected."""
    url, token = upload_page
    file = tmp_path / "october.csv"
    file.write_bytes(make_file(make_row(), make_row(transaction_id="T002", product=""), make_row(transaction_id="T3")))
    page.goto(url)
    page.get_by_label("Token").fill(token)
    page.locator("#file").set_input_files(file)
    expect(page.locator("#uploads")).to_contain_text("loaded without the rejected rows")
    expect(page.locator("#uploads")).to_contain_text("product: missing")
    for store in ("GCS", "BigQuery", "PostgreSQL"):
        expect(page.locator("#uploads tr").filter(has_text=store)).to_contain_text("2")
    picture(page, "upload")
    assert dev.pg.execute("select count(*) from transactions where source_file = 'ann/october.csv'").fetchone() == (2,)
