"""The marts over HTTP: pages, filters, both forms, and what is refused."""

from txn_assets.defs.marts import REFRESH
from txn_assets.job import execute
from txn_assets_tests.deployment import make_row
from txn_assets_tests.upload.server import Service


def test_sales(service: Service) -> None:
    """A mart is read page by page with exact numbers; an unchanged one is not sent again."""
    deployment = service.deployment
    assert service.get("/sales/by-product").status_code == 404
    deployment.load("a.csv", make_row(), make_row(transaction_id="T2", product="Pen", price="0.1", date="2024-01-02"))
    execute(deployment.config, deployment.instance, job=REFRESH)

    page = service.get("/sales/by-product?limit=1")
    assert page.json()["rows"] == [
        {
            "product": "Halal Laptop", "transaction_count": 1, "total_quantity": "2", "total_amount": "1999.98",
            "avg_price": "999.99", "first_sale": "2023-10-01", "last_sale": "2023-10-01",
        }
    ]  # fmt: skip
    rest = service.get(page.links["next"]["url"])
    assert [row["product"] for row in rest.json()["rows"]] == ["Pen"]
    assert "next" not in rest.links
    unchanged = service.get("/sales/by-product?limit=1", headers={"If-None-Match": page.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")

    as_csv = service.get("/sales/by-date?from=2024-01-01", headers={"Accept": "text/csv"})
    assert as_csv.text == "sale_date,transaction_count,total_quantity,total_amount\n2024-01-02,1,2,0.20\n"

    assert service.get("/sales/trends").status_code == 404
    assert service.get("/sales/by-date?product=Pen").status_code == 400
    assert service.get("/sales/by-product?product=%00").status_code == 422
