"""The upload page in a real browser, against the real service."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from txn_assets.local.tokens import make_token
from txn_assets_tests.browser import CHROMIUM, complaints_of, open_browser
from txn_assets_tests.deployment import Deployment, make_file, make_row
from txn_assets_tests.upload.server import Service

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's chromium to test the page")

CONFIG: dict[str, Any] = {"feeds": {"refunds": {}}}
STATES = "#uploads .state"
SECONDS = 60
FILE = make_file(make_row(), make_row(transaction_id="T002", product=""), make_row(transaction_id="T003"))


@pytest.fixture(scope="module")
def token(stack_home: Path, module_deployment: Deployment) -> str:
    """Return a token of the subject `ann`."""
    claims = {"iss": module_deployment.endpoints.issuer_url, "aud": "txn-assets", "sub": "ann"}
    return make_token(stack_home, claims | {"scope": "transactions:write"}, minutes=5)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a browser for the module."""
    expect.set_options(timeout=SECONDS * 1000)
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """Yield the page of a visitor who has no token yet."""
    page = browser.new_page(base_url=service.url)
    page.goto("/")
    yield page
    page.close()


@pytest.fixture
def complaints(page: Page, token: str) -> Iterator[list[str]]:
    """Type the token, and check that no script fails and nothing is blocked; yield what the browser complains about."""
    complaints = complaints_of(page)
    page.get_by_label("Token").fill(token)
    yield complaints
    assert complaints == []


def drop(page: Page, files: Sequence[Path]) -> None:
    """Drag files from outside the browser and drop them on the page's field, which only the browser itself can do."""
    box = page.locator("#drop").bounding_box()
    assert box
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": list(map(str, files)), "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})


def test_chosen_file_is_followed_to_its_result(
    page: Page, complaints: list[str], service: Service, module_deployment: Deployment, tmp_path: Path
) -> None:
    """A chosen file is uploaded, and the page shows its rows, why some were rejected, and what each store has."""
    path = tmp_path / "orders.csv"
    path.write_bytes(FILE)
    page.locator("#file").set_input_files(path)
    expect(page.locator(STATES)).to_contain_text("landed")
    assert service.landed("ann/orders.csv") == FILE

    # In a thread of its own, because Playwright's event loop runs in this one, and Dagster starts another.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(module_deployment.materialize, "ann/orders.csv", raise_on_error=False).result()

    expect(page.locator(STATES)).to_have_text("loaded without the rejected rows")
    cells = [row.split("\t") for row in page.locator("#uploads tr").all_inner_texts()]
    expected = [["all", "3"], ["valid", "2"], ["product: missing", "1"]]
    assert cells == expected + [[store, "2"] for store in ("GCS", "BigQuery", "PostgreSQL")]

    # The link opens the status in a tab of its own, which has only the address.
    link = page.locator("#uploads .links a").first.evaluate("link => link.href")
    assert link.startswith(f"{service.url}/#/uploads/ann/orders.csv@")


def test_link_to_a_status(page: Page, complaints: list[str], service: Service, token: str) -> None:
    """The address of a status shows what became of that file, after a reload too."""
    response = service.upload(FILE, "linked 1.csv", headers={"Authorization": f"Bearer {token}"})
    page.goto(f"/#{response.headers['Location']}")
    page.reload()
    expect(page.locator(STATES)).to_contain_text("landed")
    expect(page.locator("#uploads")).to_contain_text("ann/linked 1.csv@")


def test_dropped_files(page: Page, complaints: list[str], service: Service, tmp_path: Path) -> None:
    """Files that are dropped are uploaded one after the other, and their names are shown as text."""
    paths = [tmp_path / "first.csv", tmp_path / "<img src=x onerror=document.title='run'>.csv"]
    for path in paths:
        path.write_bytes(FILE)
    drop(page, paths)
    expect(page.locator(STATES).filter(has_text="landed")).to_have_count(2)
    for path in paths:
        expect(page.locator("#uploads")).to_contain_text(path.name)
    expect(page.locator("#uploads img")).to_have_count(0)
    assert page.title() == "Upload files"
    assert service.landed("ann/first.csv") == FILE


@pytest.mark.parametrize(
    ("token", "sentence"), [("", "Send a token"), ("wrong", "The token is not accepted"), ("\u20ac", "Paste it again")]
)
def test_token_that_is_not_accepted(page: Page, tmp_path: Path, token: str, sentence: str) -> None:
    """The page shows why a file was not uploaded."""
    page.evaluate("token => sessionStorage.setItem('token', token)", token)
    page.reload()
    path = tmp_path / "refused.csv"
    path.write_bytes(FILE)
    page.locator("#file").set_input_files(path)
    expect(page.locator(STATES)).to_have_text("not uploaded")
    expect(page.locator("#uploads")).to_contain_text(sentence)


def test_only_the_script_of_the_page_runs(page: Page, complaints: list[str]) -> None:
    """A script that someone gets into the page is blocked, inline or as an attribute, and so is another origin."""
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<button id=evil onclick=\"document.title = 1\">x</button>');"
        "document.querySelector('#evil').click();"
        "const script = document.createElement('script'); script.textContent = 'document.title = 2';"
        "document.body.append(script); void 0"
    )
    assert page.title() == "Upload files"
    assert page.evaluate("fetch('http://127.0.0.2:1/').then(() => 'sent', (error) => error.message)") != "sent"
    blocked = [text for text in complaints if "Content Security Policy" in text]
    for what in ("inline event handler", "inline script", "http://127.0.0.2:1/"):
        assert [text for text in blocked if what in text]
    complaints.clear()
