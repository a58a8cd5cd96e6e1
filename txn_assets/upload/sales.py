"""The marts over HTTP: pages of rows from PostgreSQL, as JSON or CSV. See docs/marts.md."""

import csv
import datetime as dt
import io
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from txn_assets.feeds.configured import find_feed
from txn_assets.feeds.feed import FIRST_FEED
from txn_assets.marts.engines import open_marts
from txn_assets.marts.mart import MARTS, Between, Mart, MartRow, plain
from txn_assets.stores.errors import StoreError
from txn_assets.upload.auth import Reader
from txn_assets.upload.platform import ThePlatform
from txn_assets.upload.problems import Problem

router = APIRouter(prefix="/sales", tags=["sales"])

PATHS = {
    "by-product": "sales_by_product",
    "by-date": "sales_by_date",
    "trends": "summary_sales",
    "pg-trends": "pg_sales",
}
"""The mart behind each path. The last two have the names of the service that this one replaces."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a spreadsheet formula; see OWASP, 'CSV Injection'."""


class Page(BaseModel):
    """Which rows of a mart to return, and in which form."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    offset: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    # PostgreSQL has no NUL in text.
    product: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")] | None = None
    first: Annotated[dt.date | None, Field(alias="from")] = None
    last: Annotated[dt.date | None, Field(alias="to")] = None
    format: Literal["json", "csv"] | None = None

    def filters(self, mart: Mart) -> list[Between]:
        """Return the filters for `mart`: of a range of sales, that it overlaps the days."""
        found = []
        if self.product is not None:
            if "product" not in mart.columns:
                raise Problem(400, f"{mart.name} has no products: leave out the parameter product.")
            found.append(Between("product", self.product, self.product))
        if "first_sale" in mart.columns:
            return [*found, Between("last_sale", first=self.first), Between("first_sale", last=self.last)]
        return [*found, Between(mart.key[0], self.first, self.last)]


@router.get("/{path}")
def read_sales(
    path: Literal["by-product", "by-date", "trends", "pg-trends"],
    page: Annotated[Page, Query()],
    request: Request,
    platform: ThePlatform,
    _: Reader,
) -> Response:
    """Return rows of a mart in the order of its key. `Link` has the next page."""
    mart = MARTS[PATHS[path]]
    if mart.name not in platform.config.transformation.models:
        raise Problem(404, f"{mart.name} is not built here: add it to transformation.models.")
    marts = open_marts(platform.services.of(find_feed(platform.config, FIRST_FEED)), platform.config).postgres
    try:
        version = marts.version(mart)
        if version is None:
            raise Problem(404, f"{mart.name} has not been computed yet: try again after the next refresh.")
        form = page.format or ("csv" if "text/csv" in request.headers.get("accept", "") else "json")
        etag = f'"{version.version}-{form}"'
        headers = {"ETag": etag, "Vary": "Accept, Authorization", "Cache-Control": "private, no-cache"}
        if etag in [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        rows = marts.rows(mart, limit=page.limit + 1, offset=page.offset, filters=page.filters(mart))
    except StoreError as error:
        raise Problem(503, "PostgreSQL cannot be read now: try again later.", headers={"Retry-After": "5"}) from error
    if len(rows) > page.limit:
        query = {**dict(request.query_params), "limit": page.limit, "offset": page.offset + page.limit}
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    rows = rows[: page.limit]
    if form == "csv":
        return Response(_as_csv(mart, rows), headers=headers, media_type="text/csv")
    records = [dict(zip(mart.columns, map(_as_json, row), strict=True)) for row in rows]
    return JSONResponse({"mart": mart.name, "version": version.version, "rows": records}, headers=headers)


def _as_json(value: Any) -> str | int | None:  # noqa: ANN401 - a value of a row
    """Return a value for JSON. Decimals are text, because a number would be read as a binary float."""
    if isinstance(value, Decimal):
        return plain(value)
    return value if value is None or isinstance(value, int) else str(value)


def _as_csv(mart: Mart, rows: list[MartRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(mart.columns)
    for row in rows:
        shown = [_as_json(value) for value in row]
        writer.writerow([f"'{v}" if isinstance(v, str) and v.startswith(_FORMULA_STARTS) else v for v in shown])
    return text.getvalue()
