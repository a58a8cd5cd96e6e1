"""The upload page in a real browser, against the real service."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from txn_assets.local.tokens import make_token
from txn_assets_tests.deployment import Deployment, make_file, make_row
from txn_assets_tests.upload.browser import CHROMIUM, Page, open_browser
from txn_assets_tests.upload.server import Service

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's chromium to test the page")

CONFIG: dict[str, Any] = {"feeds": {"refunds": {}}}
STATES = "[...document.querySelectorAll('#uploads .state')].map((state) => state.textContent)"
FILE = make_file(make_row(), make_row(transaction_id="T002", product=""), make_row(transaction_id="T003"))


@pytest.fixture(scope="module")
def token(stack_home: Path, module_deployment: Deployment) -> str:
    """Return a token of the subject `ann`."""
    claims = {"iss": module_deployment.endpoints.issuer_url, "aud": "txn-assets", "sub": "ann"}
    return make_token(stack_home, claims | {"scope": "transactions:write"}, minutes=5)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Yield a browser for the module."""
    with open_browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def page(browser: Page, service: Service, token: str) -> Iterator[Page]:
    """Yield the page with a token, and check that no script failed and nothing was blocked."""
    browser.open(f"{service.url}/healthz")
    browser.evaluate("sessionStorage.clear()")
    browser.open(f"{service.url}/")
    browser.type("#token", token)
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []


def test_chosen_file_is_followed_to_its_result(
    page: Page, service: Service, module_deployment: Deployment, tmp_path: Path
) -> None:
    """A chosen file is uploaded, and the page shows its rows, why some were rejected, and what each store has."""
    path = tmp_path / "orders.csv"
    path.write_bytes(FILE)
    page.choose("#file", [path])
    page.wait_for(f"{STATES}[0]?.startsWith('landed')")
    assert service.landed("ann/orders.csv") == FILE

    module_deployment.materialize("ann/orders.csv", raise_on_error=False)

    page.wait_for(f"{STATES}[0] === 'loaded without the rejected rows'")
    cells = page.evaluate("[...document.querySelectorAll('#uploads tr')].map((row) => row.innerText.split('\\t'))")
    expected = [["all", "3"], ["valid", "2"], ["product: missing", "1"]]
    assert cells == expected + [[store, "2"] for store in ("GCS", "BigQuery", "PostgreSQL")]

    # The link opens the status in a tab of its own, which has only the address.
    link = page.evaluate("document.querySelector('#uploads .links a').href")
    assert link.startswith(f"{service.url}/#/uploads/ann/orders.csv@")


def test_link_to_a_status(page: Page, service: Service, token: str) -> None:
    """The address of a status shows what became of that file, after a reload too."""
    response = service.upload(FILE, "linked 1.csv", headers={"Authorization": f"Bearer {token}"})
    page.open(f"{service.url}/#{response.headers['Location']}")
    page.send("Page.reload")
    page.wait_for(f"{STATES}[0]?.startsWith('landed')")
    assert "ann/linked 1.csv@" in page.text()


def test_dropped_files(page: Page, service: Service, tmp_path: Path) -> None:
    """Files that are dropped are uploaded one after the other, and their names are shown as text."""
    paths = [tmp_path / "first.csv", tmp_path / "<img src=x onerror=document.title='run'>.csv"]
    for path in paths:
        path.write_bytes(FILE)
    page.drop("#drop", paths)
    page.wait_for(f"{STATES}.length === 2 && {STATES}.every((state) => state.startsWith('landed'))")
    assert [path.name in page.text() for path in paths] == [True, True]
    assert page.evaluate("[document.title, document.querySelectorAll('#uploads img').length]") == ["Upload files", 0]
    assert service.landed("ann/first.csv") == FILE


@pytest.mark.parametrize(
    ("token", "sentence"), [("", "Send a token"), ("wrong", "The token is not accepted"), ("\u20ac", "Paste it again")]
)
def test_token_that_is_not_accepted(browser: Page, service: Service, tmp_path: Path, token: str, sentence: str) -> None:
    """The page shows why a file was not uploaded."""
    browser.open(f"{service.url}/healthz")
    browser.evaluate(f"sessionStorage.setItem('token', {token!r})")
    browser.open(f"{service.url}/")
    path = tmp_path / "refused.csv"
    path.write_bytes(FILE)
    browser.choose("#file", [path])
    browser.wait_for(f"{STATES}[0] === 'not uploaded'")
    assert sentence in browser.text()


def test_only_the_script_of_the_page_runs(page: Page) -> None:
    """A script that someone gets into the page is blocked, inline or as an attribute, and so is another origin."""
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<button id=evil onclick=\"document.title = 1\">x</button>');"
        "document.querySelector('#evil').click();"
        "const script = document.createElement('script'); script.textContent = 'document.title = 2';"
        "document.body.append(script); void 0"
    )
    assert page.evaluate("document.title") == "Upload files"
    assert page.evaluate("fetch('http://127.0.0.2:1/').then(() => 'sent', (error) => error.message)") != "sent"
    blocked = [text for text in page.complaints if "Content Security Policy" in text]
    for what in ("inline event handler", "inline script", "http://127.0.0.2:1/"):
        assert [text for text in blocked if what in text]
    page.complaints.clear()
