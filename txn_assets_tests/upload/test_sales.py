"""The marts over HTTP: pages, filters, both forms, and what is refused."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from txn_assets.marts.mart import marts_of
from txn_assets_tests.deployment import Deployment, make_row
from txn_assets_tests.marts.conftest import opened
from txn_assets_tests.upload.conftest import Sign
from txn_assets_tests.upload.server import Service

CONFIG: dict[str, Any] = {
    "transformation": {"models": ["sales_by_product", "sales_by_date", "summary_sales", "pg_sales"]}
}
PEN = make_row(transaction_id="T2", product="Pen", price="0.1", date="2024-01-02")
FORMULA = make_row(transaction_id="T3", product="=1+1", price="3", quantity="1", date="2024-01-02")


@pytest.fixture(scope="module")
def sales(service: Service, sign: Sign) -> Iterator[Service]:
    """Yield the service with three sales in its marts, and a token to read them."""
    service.token = sign(scope="sales:read")["Authorization"].removeprefix("Bearer ")
    refused(service.get("/sales/by-product"), 404, "has not been computed yet")
    deployment = service.deployment
    deployment.load("a.csv", make_row(), PEN, FORMULA)
    refresh(deployment)
    yield service
    service.token = None


def refresh(deployment: Deployment) -> None:
    """Compute the marts in PostgreSQL."""
    with opened(deployment) as marts:
        for mart in marts_of(deployment.config):
            marts.postgres.refresh(mart)


def refused(response: requests.Response, status: int, detail: str) -> None:
    """Check that a request was refused with a problem that says `detail`."""
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert detail in response.json()["detail"]


def test_pages(sales: Service) -> None:
    """Links lead through the rows, in the order of the key and with exact numbers."""
    page = sales.get("/sales/by-product?limit=2")
    assert page.json()["rows"][1] == {
        "product": "Halal Laptop", "transaction_count": 1, "total_quantity": "2", "total_amount": "1999.98",
        "avg_price": "999.99", "first_sale": "2023-10-01", "last_sale": "2023-10-01",
    }  # fmt: skip
    rest = sales.get(page.links["next"]["url"])
    assert [row["product"] for row in page.json()["rows"] + rest.json()["rows"]] == ["=1+1", "Halal Laptop", "Pen"]
    assert "next" not in rest.links
    assert rest.json()["version"] == page.json()["version"]


def test_old_paths(sales: Service) -> None:
    """The paths of the service that this one replaces have the months and the single transactions."""
    months = sales.get("/sales/trends").json()["rows"]
    assert [(row["sale_month"], row["product"], row["total_amount"]) for row in months] == [
        ("2023-10-01", "Halal Laptop", "1999.98"),
        ("2024-01-01", "=1+1", "3.00"),
        ("2024-01-01", "Pen", "0.20"),
    ]
    page = sales.get("/sales/pg-trends?limit=1")
    rows = page.json()["rows"]
    while "next" in page.links:
        page = sales.get(page.links["next"]["url"])
        rows += page.json()["rows"]
    assert (rows[0]["sale_date"], rows[0]["amount"]) == ("2023-10-01", "1999.98")
    assert sorted(row["amount"] for row in rows[1:]) == ["0.20", "3.00"]
    assert {len(row["transaction_id"]) for row in rows} == {64}


@pytest.mark.parametrize(
    ("query", "products"),
    [
        ("by-product?product=Pen", ["Pen"]),
        ("by-product?from=2023-10-02", ["=1+1", "Pen"]),
        ("by-product?to=2024-01-01", ["Halal Laptop"]),
        ("trends?from=2024-01-01&to=2024-01-31&product=Pen", ["Pen"]),
        ("pg-trends?from=2023-10-01&to=2023-10-01", ["Halal Laptop"]),
        ("pg-trends?product=None", []),
    ],
)
def test_filters(sales: Service, query: str, products: list[str]) -> None:
    """Days and a product choose rows."""
    assert [row["product"] for row in sales.get(f"/sales/{query}").json()["rows"]] == products


def test_csv_is_safe_in_a_spreadsheet(sales: Service) -> None:
    """Both ways to ask for CSV have a cell that looks like a formula as text."""
    for options in ({"path": "/sales/by-product?format=csv"}, {"path": "/sales/by-product", "headers": _CSV}):
        answer = sales.get(**options)
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert answer.text.splitlines()[:2] == [
            "product,transaction_count,total_quantity,total_amount,avg_price,first_sale,last_sale",
            "'=1+1,1,1,3.00,3.00,2024-01-02,2024-01-02",
        ]
    days = sales.get("/sales/by-date?from=2024-01-01", headers=_CSV).text
    assert days == "sale_date,transaction_count,total_quantity,total_amount\n2024-01-02,2,3,3.20\n"


_CSV = {"Accept": "text/csv"}


def test_unchanged_page_is_not_sent_again(sales: Service) -> None:
    """The ETag changes with the mart and with the form."""
    tag = sales.get("/sales/by-date").headers["ETag"]
    for sent in (tag, f'W/{tag}, "other"'):
        unchanged = sales.get("/sales/by-date", headers={"If-None-Match": sent})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    assert sales.get("/sales/by-date?format=csv", headers={"If-None-Match": tag}).status_code == 200

    deployment = sales.deployment
    deployment.load("b.csv", make_row(transaction_id="T4", date="2024-01-03"))
    refresh(deployment)
    changed = sales.get("/sales/by-date", headers={"If-None-Match": tag})
    assert (changed.status_code, len(changed.json()["rows"])) == (200, 3)


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("by-date?product=Pen", 400, "has no products"),
        ("by-product?product=%00", 422, "product"),
        ("by-product?limit=0", 422, "limit"),
        ("by-product?limit=10001", 422, "limit"),
        ("by-product?from=yesterday", 422, "from"),
        ("by-product?format=xml", 422, "format"),
        ("by-product?page=2", 422, "page"),
        ("by-product?cursor=abc", 422, "Follow the link"),
        ("by-hour", 422, "path"),
    ],
)
def test_bad_parameters(sales: Service, query: str, status: int, detail: str) -> None:
    """What is wrong is a problem that names the parameter."""
    refused(sales.get(f"/sales/{query}"), status, detail)


def test_scope(sales: Service, sign: Sign) -> None:
    """Only a token with the scope to read sales reads them."""
    refused(requests.get(f"{sales.url}/sales/by-date", timeout=60), 401, "Send a token")
    refused(sales.get("/sales/by-date", headers=sign(scope="transactions:write")), 403, "lacks the scope sales:read")
    assert sales.get("/sales/by-date", headers=sign(scope="transactions:write sales:read")).status_code == 200
