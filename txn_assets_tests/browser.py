"""A real browser for tests of web pages: headless Chromium from PATH, driven by Playwright.

https://playwright.dev/python/docs/api/class-page
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Yield a browser. Playwright starts it without a sandbox, which root cannot use; it opens only our own pages."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


def complaints_of(page: Page) -> list[str]:
    """Return a list that fills with the errors on the page's console, blocked content included."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints
