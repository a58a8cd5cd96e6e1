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

from txn_assets.marts.exports import csv_rows
from txn_assets.marts.mart import MARTS, Between, Mart, MartRow, plain
from txn_assets.marts.pages import Cursor, MartPages
from txn_assets.upload.auth import Reader
from txn_assets.upload.platform import ThePlatform
from txn_assets.upload.problems import Problem, documented

router = APIRouter(prefix="/sales", tags=["sales"])

PATHS = {
    "by-product": "sales_by_product",
    "by-date": "sales_by_date",
    "trends": "summary_sales",
    "pg-trends": "pg_sales",
}
"""The mart behind each path. The last two have the names of the service that this one replaces."""


class Page(BaseModel):
    """Which rows of a mart to return, and in which form."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    cursor: Annotated[str | None, Field(max_length=16_384, description="From the link to the next page.")] = None
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

    def start(self, mart: Mart) -> Cursor | None:
        """Return where the page begins."""
        if self.cursor is None:
            return None
        try:
            return Cursor.of_text(self.cursor, mart)
        except ValueError as error:
            detail = "cursor: it is not from a link of this route. Follow the link to the next page."
            raise Problem(422, detail) from error


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows. Decimals are text, because a number would be read as a binary float.",
        "headers": {
            "ETag": {"schema": {"type": "string"}, "description": "Changes with the rows of the mart."},
            "Link": {"schema": {"type": "string"}, "description": "The next page, if there is one."},
        },
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["mart", "version", "rows"],
                    "properties": {
                        "mart": {"type": "string"},
                        "version": {"type": "string"},
                        "rows": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "additionalProperties": {"type": ["string", "integer", "null"]},
                            },
                        },
                    },
                }
            },
            "text/csv": {"schema": {"type": "string"}},
        },
    },
    304: {"description": "The mart is as `If-None-Match` says."},
    **documented(400, 401, 403, 404, 422, 500, 503),
}


@router.get("/{path}", responses=_ANSWERS)
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
    pages: MartPages = request.app.state.pages
    filters, start = page.filters(mart), page.start(mart)
    with pages.snapshot() as snapshot:
        version = snapshot.version(mart)
        if version is None:
            raise Problem(404, f"{mart.name} has not been computed yet: try again after the next refresh.")
        form = page.format or ("csv" if "text/csv" in request.headers.get("accept", "") else "json")
        etag = f'"{version.version}-{form}"'
        headers = {"ETag": etag, "Vary": "Accept, Authorization", "Cache-Control": "private, no-cache"}
        if etag in [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        rows, after = snapshot.page(mart, limit=page.limit, start=start, filters=filters)
    if after:
        query = {**dict(request.query_params), "limit": page.limit, "cursor": str(after)}
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
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
    writer.writerows(csv_rows(mart, rows))
    return text.getvalue()
