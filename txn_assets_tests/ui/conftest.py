"""One `make dev` for all tests of the UI, with the project's configuration and an empty home below TXN_HOME.

The home stays after the run, with Dagster's log, and for each failed test what the browser showed.
"""

import io
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from txn_assets.environment import project_root, txn_home
from txn_assets.local import dagster_dev
from txn_assets.local.stack import down
from txn_assets_tests.browser import CHROMIUM, complaints_of, open_browser
from txn_assets_tests.daemon import dagster_dev as running_dev
from txn_assets_tests.deployment import Deployment

WAIT_SECONDS = 300
"""Timeout of each wait. The sensor looks every 30 seconds, a run takes ten, and both take longer on a busy machine."""

type Picture = Callable[[Page, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make screenshots` name the folder of the pictures."""
    parser.addoption("--screenshots", type=Path, help="write the pictures of the docs into this folder")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the fixture `page` know whether its test failed."""
    report = yield
    item.stash.setdefault(FAILED, False)
    item.stash[FAILED] |= report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def home() -> Path:
    """Return an empty TXN_HOME for the tests of the UI."""
    path = txn_home() / "ui-test"
    down(path)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def answers(url: str) -> bool:
    """Return whether a web server answers at `url`."""
    try:
        return requests.get(url, timeout=10).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="session")
def dev(home: Path) -> Iterator[Deployment]:
    """Yield the deployment that `make dev` serves, once its UI answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TXN_HOME", str(home))
        patch.setenv("TXN_TARGET", "local")
        for name in ("BUCKET_NAME", "TXN_CONFIG", "TXN_EXECUTOR", "TXN_HASH_KEY", "TXN_JWT_SECRET", "TXN_LOG_FORMAT"):
            patch.delenv(name, raising=False)
        with running_dev(home) as daemon:
            daemon.wait_until(lambda: answers(f"{dagster_dev.find(home)}/server_info"), seconds=WAIT_SECONDS)
            with Deployment.open(project_root() / "data" / "pipeline_config.yaml") as deployment:
                yield deployment
        down(home)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Yield the browser."""
    if CHROMIUM is None:
        pytest.exit("No Chromium on PATH: install it (Debian: apt-get install chromium) to test the UI.", returncode=2)
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Browser, dev: Deployment, home: Path) -> Iterator[Page]:
    """Yield a page of a browser that never was here; keep what it showed if the test fails."""
    url = dagster_dev.find(home)
    context = browser.new_context(
        base_url=url, viewport={"width": 1280, "height": 860}, timezone_id="UTC", reduced_motion="reduce"
    )
    # A graph from top to bottom fits a page of the docs.
    context.add_init_script("localStorage.setItem('asset-graph-direction', JSON.stringify('vertical'))")
    page = context.new_page()
    page.set_default_timeout(WAIT_SECONDS * 1000)
    complaints = complaints_of(page)
    yield page
    if request.node.stash[FAILED]:
        page.screenshot(path=home / f"{request.node.name}.png")
        text = "\n".join((page.url, *complaints, page.inner_text("body")))
        (home / f"{request.node.name}.txt").write_text(text)
    context.close()


@pytest.fixture(scope="session")
def picture(request: pytest.FixtureRequest) -> Picture:
    """Return a function that writes what the page shows as `<name>.png`, if pictures are wanted."""
    folder = request.config.getoption("--screenshots")

    def write(page: Page, name: str) -> None:
        if folder:
            content = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
            content.thumbnail((1280, 1280))
            # A palette makes the file three times smaller.
            content.convert("RGB").quantize(256).save(folder / f"{name}.png", optimize=True)

    return write
