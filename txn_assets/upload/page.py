"""The upload page at `/`: one file of plain HTML, which the browser gets with a strict Content-Security-Policy."""

import base64
import hashlib
import html
import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from txn_assets.feeds.configured import feeds_of
from txn_assets.upload.platform import ThePlatform

router = APIRouter()

_PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def _hash_of(element: str) -> str:
    """Return the hash that allows the inline style or script of the page, and no other."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", _PAGE, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hash_of('script')}; style-src {_hash_of('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@router.get("/", include_in_schema=False)
def read_page(platform: ThePlatform) -> HTMLResponse:
    """Return the page, with the feeds to choose from."""
    feeds = "".join(f"<option>{html.escape(feed.name)}</option>" for feed in feeds_of(platform.config))
    authentication = f'data-authentication="{platform.config.security.authentication}">'
    content = _PAGE.replace("<!-- feeds -->", feeds, 1).replace("data-authentication>", authentication, 1)
    return HTMLResponse(content, headers=_HEADERS)
