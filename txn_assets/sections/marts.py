"""The marts: which models are built from the loaded transactions, and where."""

from typing import Annotated, Literal

from pydantic import StringConstraints

from txn_assets.feeds.section import Identifier, Section

MartName = Literal["sales_by_product", "sales_by_date", "fact_sales", "pg_sales", "summary_sales"]


class DataMart(Section):
    """Where the marts are: the dataset in BigQuery, and the schema of the same name in PostgreSQL.

    `table` is the mart that `make run` shows first.
    """

    dataset: Annotated[Identifier, StringConstraints(max_length=63)] = "transactions_mart"
    table: MartName = "sales_by_product"


class Transformation(Section):
    """Which marts to build. `dbt_project` is the name that `txn contract --format dbt-sources` gives the sources."""

    dbt_project: Identifier = "dbt_transactions"
    models: tuple[MartName, ...] = ()
