"""What a refresh does in each engine: before the first load, at once, under rules, and next to other tables."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from txn_assets.marts.engines import Marts
from txn_assets.marts.mart import MARTS, Between, Engine
from txn_assets.stores.errors import StoreError
from txn_assets_tests.deployment import Deployment, make_row
from txn_assets_tests.marts.conftest import opened

PRODUCTS, DATES, SALES = MARTS["sales_by_product"], MARTS["sales_by_date"], MARTS["pg_sales"]
ENGINES: tuple[Engine, ...] = ("postgres", "bigquery")


@pytest.fixture
def marts(with_marts: Deployment) -> Iterator[Marts]:
    """Yield the marts of the deployment."""
    with opened(with_marts) as found:
        yield found


def test_marts_before_the_first_load_are_empty(marts: Marts) -> None:
    """There is no table yet: a version is unknown, and a refresh makes an empty mart."""
    for engine in ENGINES:
        built = getattr(marts, engine)
        assert built.version(PRODUCTS) is None
        assert built.refresh(PRODUCTS).rows == 0
        assert built.rows(PRODUCTS) == []


def test_refresh_life_cycle(with_marts: Deployment, marts: Marts) -> None:
    """A row without an id counts, two refreshes at once end with one result, and a dropped table is filled again."""
    with_marts.configure({"ingestion": {"validation": {"required_fields": ["product", "price", "quantity", "date"]}}})
    with_marts.load(
        "a.csv",
        make_row(price="1.00", quantity="1"),
        make_row(transaction_id="", price="2.00", quantity="1"),
        make_row(transaction_id="", price="2.00", quantity="1"),
        make_row(price="4.00", quantity="3", date="2023-10-02"),
    )
    for engine in ENGINES:
        built = getattr(marts, engine)
        with ThreadPoolExecutor(2) as executor:
            done = list(executor.map(lambda _, built=built: built.refresh(PRODUCTS), range(2)))
        # In BigQuery both may compute it, a moment apart.
        assert {refresh.version.version for refresh in done} == {built.version(PRODUCTS).version}
        ((product, count, quantity, amount, average, *_),) = built.rows(PRODUCTS)
        assert (product, count, quantity, amount) == ("Halal Laptop", 3, 5, Decimal(16))
        assert average == Decimal("2.6667")
        assert built.version(PRODUCTS).superseded == 1
        built.refresh(DATES)
        assert len(built.rows(DATES, limit=1, offset=1)) == 1
        (row,) = built.rows(DATES, filters=[Between("sale_date", first=built.rows(DATES)[1][0])])
        assert row[1:] == (1, 3, 12)
        assert [list(row) for batch in built.stream(DATES) for row in batch] == list(map(list, built.rows(DATES)))

    dataset = with_marts.config.data_mart.dataset
    with_marts.pg.execute(f"DROP TABLE {dataset}.{PRODUCTS.name}")
    with_marts.bq.delete_table(f"{with_marts.config.data_warehouse.project_id}.{dataset}.{PRODUCTS.name}")
    for engine in ENGINES:
        assert not getattr(marts, engine).refresh(PRODUCTS).is_unchanged
        assert len(getattr(marts, engine).rows(PRODUCTS)) == 1

    # Other rules are another definition, so the mart is computed again; only rows without an id are written again.
    (unchanged,) = sales_with_id(with_marts, marts)
    for min_price, count in ((2, 3), (3, 1)):
        with_marts.configure({"ingestion": {"validation": {"min_price": min_price}}})
        with opened(with_marts) as stricter:
            assert sales_with_id(with_marts, stricter) == [unchanged]
            assert len(stricter.postgres.rows(SALES)) == count


def sales_with_id(deployment: Deployment, marts: Marts) -> list[tuple[str, int]]:
    """Refresh `pg_sales`, and return the id and the writing transaction of each row with an id."""
    assert not marts.postgres.refresh(SALES).is_unchanged
    table = f"{deployment.config.data_mart.dataset}.{SALES.name}"
    query = f"SELECT transaction_id, xmin FROM {table} WHERE transaction_id IS NOT NULL"
    return deployment.pg.execute(query).fetchall()


def test_rules_apply_in_the_marts(with_marts: Deployment) -> None:
    """With `trust_input` a row that breaks the rules is loaded, and the marts leave it out in both engines."""
    rules = {"min_price": 10.0, "max_quantity": 100, "product_prefix": "Halal", "max_decimals": 2}
    with_marts.configure({"ingestion": {"trust_input": True, "validation": rules}})
    with_marts.load(
        "a.csv",
        make_row(transaction_id="T1", price="10.00"),
        make_row(transaction_id="T2", price="9.99"),
        make_row(transaction_id="T3", quantity="101"),
        make_row(transaction_id="T4", product="halal Phone"),
        make_row(transaction_id="T5", price="10.005"),
    )
    with opened(with_marts) as marts:
        for engine in ENGINES:
            done = getattr(marts, engine).refresh(PRODUCTS)
            assert (done.version.transactions, done.version.excluded) == (1, 4)
            assert [row[:4] for row in getattr(marts, engine).rows(PRODUCTS)] == [("Halal Laptop", 1, 2, 20)]


def test_tables_of_others_are_refused(with_marts: Deployment, marts: Marts) -> None:
    """A table that somebody else has under the name of a mart keeps its rows."""
    dataset, project = with_marts.config.data_mart.dataset, with_marts.config.data_warehouse.project_id
    for engine in ENGINES:
        getattr(marts, engine).ensure_views()
    with_marts.pg.execute(f"CREATE TABLE {dataset}.{PRODUCTS.name} AS SELECT 'x' AS product")
    with_marts.bq.query(f"CREATE TABLE `{project}.{dataset}.{PRODUCTS.name}` AS SELECT 'x' AS product").result()
    for engine in ENGINES:
        with pytest.raises(StoreError, match="was not made by the platform"):
            getattr(marts, engine).refresh(PRODUCTS)
    assert with_marts.pg.execute(f"SELECT * FROM {dataset}.{PRODUCTS.name}").fetchall() == [("x",)]


def test_tables_of_the_original_pipeline(with_marts: Deployment) -> None:
    """A REAL price counts as the number that was sent, rows in no ledger count once, and replayed ones do not."""
    schema, warehouse = with_marts.config.data_warehouse.postgres.schema_, with_marts.config.data_warehouse
    with_marts.pg.execute(f"CREATE SCHEMA {schema}")
    columns = "transaction_id {text}, product {text}, price {real}, quantity {int}, date DATE"
    rows = "('T1', 'Old', 999.99, 2, DATE '2023-01-02'), ('T1', 'Old', 999.99, 2, DATE '2023-01-02')"
    kinds = {"text": "TEXT", "real": "REAL", "int": "INTEGER"}
    with_marts.pg.execute(f"CREATE TABLE {with_marts.pg_table} ({columns.format(**kinds)})")
    with_marts.pg.execute(f"INSERT INTO {with_marts.pg_table} VALUES {rows}")
    with_marts.bq.create_dataset(f"{warehouse.project_id}.{warehouse.dataset}", exists_ok=True)
    kinds = {"text": "STRING", "real": "FLOAT64", "int": "INT64"}
    with_marts.bq.query(f"CREATE TABLE `{with_marts.bq_table}` ({columns.format(**kinds)})").result()
    with_marts.bq.query(f"INSERT INTO `{with_marts.bq_table}` VALUES {rows}").result()
    with opened(with_marts) as marts:
        for engine in ENGINES:
            version = getattr(marts, engine).refresh(PRODUCTS).version
            assert (version.unrecorded, version.superseded, version.transactions) == (2, 1, 1)
            assert getattr(marts, engine).rows(PRODUCTS)[0][:4] == ("Old", 1, 2, Decimal("1999.98"))


def test_exports(with_marts: Deployment, marts: Marts) -> None:
    """Both forms of a mart, with formulas quoted in the CSV; a second export of one version writes nothing."""
    with_marts.load("a.csv", make_row(product="=1+1", price="0.3333", quantity="3"))
    version = marts.postgres.refresh(PRODUCTS).version

    addresses = marts.exports.write(PRODUCTS, version, marts.postgres.stream(PRODUCTS))
    objects = {name: content for name, content in with_marts.objects().items() if name.startswith("marts/")}
    before = [with_marts.bucket.get_blob(name).generation for name in objects]
    marts.exports.write(PRODUCTS, version, marts.postgres.stream(PRODUCTS))

    assert [address.rpartition("/")[2] for address in addresses] == ["sales_by_product.csv", "sales_by_product.json"]
    lines = objects["marts/sales_by_product.csv"].decode().splitlines()
    assert lines[1] == "'=1+1,1,3,0.9999,0.3333,2023-10-01,2023-10-01"
    assert (
        b'"product": "=1+1", "transaction_count": 1, "total_quantity": 3, "total_amount": "0.9999"'
        in (objects["marts/sales_by_product.json"])
    )
    assert before == [with_marts.bucket.get_blob(name).generation for name in objects]
