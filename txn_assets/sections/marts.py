"""The marts: which models are built from the loaded transactions, and where."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from txn_assets.feeds.section import Identifier, Section

MartName = Literal["sales_by_product", "sales_by_date", "fact_sales", "pg_sales", "summary_sales"]


class DataMart(Section):
    """Where the marts are."""

    dataset: Annotated[Identifier, StringConstraints(max_length=63)] = Field(
        default="transactions_mart",
        description="Dataset in BigQuery, and schema of the same name in PostgreSQL, that hold the marts.",
    )
    table: MartName = Field(default="sales_by_product", description="Mart that `make run` shows first.")


class Transformation(Section):
    """Which marts to build."""

    dbt_project: Identifier = Field(
        default="dbt_transactions", description="Name of the sources that `txn contract --format dbt-sources` prints."
    )
    models: tuple[MartName, ...] = Field(default=(), description="Marts to build. None are built by default.")
