"""What a comparison of the engines finds, and what it does when a refresh overtakes it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from txn_assets.marts.comparison import LOOKS, Comparison, compare
from txn_assets.marts.mart import MARTS, Mart, MartTotals
from txn_assets.marts.postgres import PostgresMarts
from txn_assets_tests.deployment import Deployment, make_row
from txn_assets_tests.marts.conftest import opened

SALES, PRODUCTS = MARTS["pg_sales"], MARTS["sales_by_product"]


@dataclass(kw_only=True)
class Overtaken(PostgresMarts):
    """The marts in PostgreSQL, where something happens between the reads of a version and of the rows."""

    meanwhile: Callable[[], object]

    def totals(self, mart: Mart) -> MartTotals:
        """Return the totals after `meanwhile`."""
        self.meanwhile()
        return super().totals(mart)


def test_refresh_during_the_comparison(with_marts: Deployment) -> None:
    """A refresh between two reads is no difference; if each look meets one, the result is uncertain."""
    with opened(with_marts) as marts:
        marts.postgres.refresh(SALES)

        def refresh() -> None:
            # A row that the original pipeline appended.
            table, row = with_marts.pg_table, f"T{next(rows)}"
            with_marts.pg.execute(f"INSERT INTO {table} VALUES (%s, 'Old', 1, 1, '2023-10-01')", [row])
            marts.postgres.refresh(SALES, force=True)

        def refresh_once() -> None:
            if next(looks) == 0:
                refresh()

        def during(meanwhile: Callable[[], object]) -> tuple[list[str], bool]:
            postgres = Overtaken(**vars(marts.postgres), meanwhile=meanwhile)
            found = compare(replace(marts, postgres=postgres), SALES)
            return found.wrong, found.is_certain

        rows, looks = count(), count()

        assert during(refresh_once) == ([], True)
        assert next(looks) == 2
        assert during(refresh) == (["pg_sales was refreshed while it was read: run the check again."], False)
        assert next(rows) == 1 + LOOKS


def test_differences(with_marts: Deployment) -> None:
    """A mart that was never computed, one that somebody changed, and engines with other files are told apart."""
    with opened(with_marts) as marts:
        never = "sales_by_product has never been computed in {}: refresh it."
        assert compare(marts, PRODUCTS) == Comparison([never.format("PostgreSQL"), never.format("BigQuery")])

        with_marts.load("a.csv", make_row())
        marts.postgres.refresh(PRODUCTS)
        marts.bigquery.refresh(PRODUCTS)
        assert compare(marts, PRODUCTS) == Comparison([])

        table = f"{with_marts.config.data_mart.dataset}.{PRODUCTS.name}"
        with_marts.pg.execute(f"UPDATE {table} SET transaction_count = 2")
        changed = compare(marts, PRODUCTS)
        assert changed.is_certain
        assert changed.wrong[0].startswith("PostgreSQL: sales_by_product counts transactions 2 instead of 1: ")

        with_marts.load("b.csv", make_row(transaction_id="T002"))
        marts.postgres.refresh(PRODUCTS, force=True)
        behind = compare(marts, PRODUCTS)
        assert not behind.is_certain
        assert behind.wrong[0].startswith("sales_by_product was computed from other versions of the files in BigQuery")
