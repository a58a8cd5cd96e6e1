"""`ingestion.trust_input` skips the optional rules of a feed, and nothing else."""

from decimal import Decimal
from hashlib import sha256

from txn_assets.marts.mart import MARTS
from txn_assets_tests.deployment import Deployment, make_row
from txn_assets_tests.marts.conftest import opened


def test_trusted_rows_skip_optional_rules_only(deployment: Deployment) -> None:
    """A row below `min_price` is loaded with its id hashed, and rows that no rule can save are still rejected.

    The marts apply the rule again, and leave the row out.
    """
    rules = {"min_price": 10.0, "product_prefix": "Halal"}
    deployment.configure({"ingestion": {"trust_input": True, "validation": rules}})
    deployment.load(
        "a.csv",
        make_row(transaction_id="T1", price="10.00"),
        make_row(transaction_id="T2", price="9.99"),
        make_row(transaction_id="T3", price="cheap"),
        make_row(transaction_id="T4", date="2023-02-30"),
    )

    hashed = {sha256(name.encode()).hexdigest(): price for name, price in (("T1", "10.00"), ("T2", "9.99"))}
    assert {row[0]: row[2] for row in deployment.rows_everywhere("a.csv")} == {
        name: Decimal(price) for name, price in hashed.items()
    }
    assert [row["source_row"] for row in deployment.quarantined("a.csv")] == ["3", "4"]

    mart = MARTS["sales_by_product"]
    with opened(deployment) as marts:
        for built in (marts.postgres, marts.bigquery):
            assert built.refresh(mart).version.excluded == 1
            assert [row[1] for row in built.rows(mart)] == [1]
